"""Responses that a server makes in the background: asked after until they are there, and cancelled with the call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from synth_ai.errors import ServerError
from synth_ai.http.client import HTTPClient, SendOptions
from synth_ai.lm.retry import RetryPolicy

_UNFINISHED = ("queued", "in_progress")

#: Seconds before the server is asked for the first time, and the most between two times.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
#: Seconds that a cancelled call spends on telling the server.
_CANCEL_TIME = 5.0

_ASKING = RetryPolicy(attempts=5)


async def finished(
    client: HTTPClient, path: str, data: Mapping[str, Any], options: SendOptions | None = None
) -> Mapping[str, Any]:
    """The response once the server is done with it, whatever became of it.

    Args:
        path: where responses are, such as `/responses`.
        data: the response as it was when the server took the call.
        options: how the call was sent. Its headers and query go along with every question, as gateways ask for them.

    Raises:
        ServerError: the server cannot be asked any more. The call is not worth another try, as it may still run.
    """
    wait = _FIRST_WAIT
    place = f"{path}/{data.get('id')}"
    along = _along(options or {})
    try:
        while data.get("status") in _UNFINISHED:
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_WAIT)
            data = (await _ASKING.run(lambda: client.get(place, along))).data
    except asyncio.CancelledError:
        with suppress(ServerError, TimeoutError):
            async with asyncio.timeout(_CANCEL_TIME):
                await client.post(f"{place}/cancel", {}, along)
        raise
    except ServerError as error:
        raise ServerError(
            f"The response {data.get('id')!r} is made in the background, and the server cannot be asked how it is: "
            f"{error} It may still finish there.",
            status_code=error.status_code,
            request_id=error.request_id,
            code=error.code,
            body=error.body,
        ) from error
    return data


def _along(options: SendOptions) -> SendOptions:
    along: SendOptions = {}
    if "headers" in options:
        along["headers"] = options["headers"]
    if "params" in options:
        along["params"] = options["params"]
    return along
