"""Responses that a server makes in the background: waited for, or cancelled with the call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from synth_ai.errors import ServerError
from synth_ai.http.client import HTTPClient, SendOptions
from synth_ai.ids import quote_id
from synth_ai.lm.retry import RetryPolicy

_UNFINISHED = ("queued", "in_progress")

#: Seconds before the server is asked for the first time, the factor from one wait to the next, and
#: the most seconds between two times.
_FIRST_WAIT = 0.5
_WAIT_FACTOR = 1.5
_LONGEST_WAIT = 10.0

#: Seconds that a cancelled call spends on telling the server.
_CANCEL_TIMEOUT = 5.0

#: How often one question is asked again if it fails. The response is made in the meantime.
_RETRY = RetryPolicy(attempts=5)


async def poll_until_done(
    client: HTTPClient,
    path: str,
    body: Mapping[str, Any],
    send_options: SendOptions | None = None,
) -> Mapping[str, Any]:
    """Ask for a response until the server is done with it, whatever became of it.

    Args:
        client: the way to the server.
        path: where its responses are, such as `/responses`.
        body: the response as it was when the server took the call.
        send_options: how the call was sent. Its headers and query go along with every question, as
            gateways ask for them.

    Returns:
        The body of the finished response.

    Raises:
        RequestError: the server's id of the response cannot be part of an address.
        ServerError: the server cannot be asked any more. The call is not worth another try, as the
            response may still be made.
    """
    segment = quote_id(body.get("id"), "The id that the server gave to the response")
    url = f"{path}/{segment}"
    poll_options = _select_poll_options(send_options or {})

    async def ask() -> Mapping[str, Any]:
        answer = await client.get(url, poll_options)
        return answer.data

    wait = _FIRST_WAIT
    try:
        while body.get("status") in _UNFINISHED:
            await asyncio.sleep(wait)
            wait = min(wait * _WAIT_FACTOR, _LONGEST_WAIT)
            body = await _RETRY.run(ask)
    except asyncio.CancelledError:
        with suppress(ServerError, TimeoutError):
            async with asyncio.timeout(_CANCEL_TIMEOUT):
                await client.post(f"{url}/cancel", {}, poll_options)
        raise
    except ServerError as error:
        # A plain ServerError is never tried again, whatever the class of this one says.
        raise ServerError(
            f"The response {body.get('id')!r} is made in the background, and the server cannot be "
            f"asked how it is: {error} It may still finish there.",
            status_code=error.status_code,
            request_id=error.request_id,
            code=error.code,
            body=error.body,
        ) from error

    return body


def _select_poll_options(send_options: SendOptions) -> SendOptions:
    selected: SendOptions = {}
    if "headers" in send_options:
        selected["headers"] = send_options["headers"]
    if "params" in send_options:
        selected["params"] = send_options["params"]
    return selected
