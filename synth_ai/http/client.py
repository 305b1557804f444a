"""Calls to a server: JSON bodies out, decoded bodies or streams of events back.

Each call waits for the rate limits and for a connection, has its errors turned into ours, and its
secrets masked in errors.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from functools import partial

from synth_ai import errors
from synth_ai.http.api_keys import NO_KEY, APIKey
from synth_ai.http.connections import DONE, ConnectionPool, Response, StreamingResponse
from synth_ai.http.pools import ConnectionPools
from synth_ai.http.rate_limits import rate_limiter_for
from synth_ai.http.registry import Server, make_transport, read_transport
from synth_ai.http.requests import Request, SendOptions
from synth_ai.http.responses import (
    DecodedBody,
    EventStream,
    JSONObject,
    StreamInfo,
    attach_request_id,
    decode_body,
    decode_event,
    find_error,
    parse_object,
    total_tokens,
)
from synth_ai.http.secrets import Secrets, mask_errors
from synth_ai.limiter import is_positive_int
from synth_ai.spending import check_spending
from synth_ai.timeout import note_phase, note_turn

__all__ = ["HTTPClient", "SendOptions"]

MAX_RESPONSE_BYTES = 256 * 2**20
"""The most bytes of an answer by default: more than any model writes, and what a process can hold.
"""


class HTTPClient:
    """Calls to one server with one key, from any event loop, as fast as its rate limits allow.

    A connection belongs to the event loop it was opened on, so each loop gets a pool of them when
    it first calls, and closes it when it ends; the sync methods of LM all share one loop.

    Args:
        base_url: the server's address.
        api_key: sent as a bearer token; a `KeySource` is asked for it with every request.
        transport: the HTTP library, `aiohttp` by default, or `httpx`, which costs more CPU.
        openai_account: send the organization and project of the environment too; they are OpenAI's.
        max_response_bytes: the most bytes of an answer, as they are once decompressed; of a stream,
            those of all its events. 256 MiB by default.
        wait_max: the most seconds that a call waits for the limits that the server reports; one
            that would wait longer is a RateLimitError.

    Attributes:
        base_url: as given.
        rate_limiter: the limits of the key, shared with every client that uses it at this address.

    Raises:
        OptionError: there is no such transport, or the bound is not a whole number from 1.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: APIKey,
        transport: str | None = None,
        openai_account: bool = False,
        max_response_bytes: int | None = None,
        wait_max: float = math.inf,
    ) -> None:
        transport_name = read_transport(transport)
        if max_response_bytes is None:
            max_response_bytes = MAX_RESPONSE_BYTES
        if not is_positive_int(max_response_bytes):
            raise errors.OptionError(
                f"max_response_bytes={max_response_bytes!r} must be a whole number from 1, or None."
            )

        self.base_url = base_url
        self.rate_limiter = rate_limiter_for(base_url, api_key)
        self._wait_max = wait_max
        self._key_source = None if isinstance(api_key, str) else api_key

        fixed_key = api_key if isinstance(api_key, str) else NO_KEY
        self._secrets = Secrets([fixed_key])
        server = Server(base_url, fixed_key, openai_account)

        def make_pool() -> ConnectionPool:
            return ConnectionPool(
                base_url, make_transport(transport_name, server), max_response_bytes
            )

        self._pools = ConnectionPools(make_pool)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url})"

    async def post(
        self, path: str, body: Mapping[str, object], options: SendOptions | None = None
    ) -> DecodedBody:
        """POST a JSON body and return the decoded answer.

        The call waits until the rate limits allow it, then for a free slot among the connections.

        Args:
            path: under the server's address, such as `/responses`.
            body: the JSON object to send.
            options: what else to send, and how long to wait.

        Raises:
            RequestError: the body cannot be written as JSON.
            ServerError: the server cannot be reached, refuses the request, or fails; also if it
                sends an error with status 200.
        """
        request = Request("POST", path, body, options or {})

        async with self.rate_limiter.reserve(body, self._wait_max) as reservation:
            request = await self._with_key(request)
            secrets = self._secrets_of(request)
            with mask_errors(secrets):
                pool = await self._pools.for_running_loop()
                async with _Turn(pool):
                    response = await pool.send(request)
                    reservation.read_headers(response.headers)
                # The slot is free again: what follows needs no connection.
                answer = _decode(response, secrets)
            reservation.used_tokens = total_tokens(answer.data)

        return answer

    def stream(
        self, path: str, body: Mapping[str, object], options: SendOptions | None = None
    ) -> EventStream:
        """POST a JSON body, and stream the decoded server-sent events of the answer.

        The call is sent when the first event is read. An empty event stands for `[DONE]`, with
        which some APIs end a stream.

        Args:
            path: under the server's address, such as `/responses`.
            body: the JSON object to send.
            options: what else to send, and how long to wait.

        Reading the stream raises what `post` raises.
        """
        request = Request("POST", path, body, options or {})
        return EventStream(partial(self._stream_events, request, body), self._secrets_of(request))

    async def _stream_events(
        self, request: Request, body: Mapping[str, object], info: StreamInfo
    ) -> AsyncGenerator[JSONObject, None]:
        async with self.rate_limiter.reserve(body, self._wait_max) as reservation:
            request = await self._with_key(request)
            info.secrets = secrets = self._secrets_of(request)
            with mask_errors(secrets):
                pool = await self._pools.for_running_loop()
                async with _Turn(pool), pool.stream(request) as response:
                    reservation.read_headers(response.headers)
                    info.request_id = _request_id(response)
                    if "json" in response.headers.get("content-type", ""):
                        raise _unstreamed_error(await response.read())

                    async for text in response.events():
                        event = {} if text == DONE else decode_event(text)
                        # Only the mark at the end is an empty event; others say nothing.
                        if not event and text != DONE:
                            continue
                        event = _mask_failure(event, secrets)
                        # The last event that reports usage counts: some servers do so in each.
                        reservation.used_tokens = total_tokens(event) or reservation.used_tokens
                        yield event

    # GET and DELETE ask no model for anything, so they use no tokens and count against no limit of
    # a model. They take no slot either: there are few of them, and one that asks for a response
    # made in the background should not stand behind thousands of calls that wait for a slot.

    async def get(self, path: str, options: SendOptions | None = None) -> DecodedBody:
        """GET a path and return the decoded answer; raises what `post` raises."""
        request = await self._with_key(Request("GET", path, None, options or {}))
        secrets = self._secrets_of(request)
        with mask_errors(secrets):
            pool = await self._pools.for_running_loop()
            response = await pool.send(request)
            return _decode(response, secrets)

    async def delete(self, path: str) -> None:
        """DELETE a path; raises what `post` raises. The answer is ignored."""
        request = await self._with_key(Request("DELETE", path, None, {}))
        with mask_errors(self._secrets_of(request)):
            pool = await self._pools.for_running_loop()
            await pool.send(request)

    async def aclose(self) -> None:
        """Close the connections; those of other event loops as soon as their loops get to it."""
        await self._pools.aclose()

    async def _with_key(self, request: Request) -> Request:
        """Add the key of now, if there is someone to ask for it.

        Raises:
            ConfigurationError: there is none.
        """
        if self._key_source is None:
            return request

        headers = request.options.get("headers") or {}
        if any(name.lower() == "authorization" for name in headers):
            return request

        note_phase("while it waited for the function given as api_key=", is_sent=False)
        key = await self._key_source()
        headers = {"Authorization": f"Bearer {key}", **headers}
        return replace(request, options={**request.options, "headers": headers})

    def _secrets_of(self, request: Request) -> Secrets:
        return self._secrets.with_headers(request.options.get("headers"))


class _Turn:
    """Waits for a free connection; then the request is sent, if there is money left for it.

    Args:
        pool: the connections.

    Raises:
        SpendingCapError: on entering, if there is none.
    """

    __slots__ = ("_slots",)

    # A class, no generator: thousands of calls may wait in here, and each would hold a frame more.
    def __init__(self, pool: ConnectionPool) -> None:
        self._slots = pool.slots

    async def __aenter__(self) -> None:
        note_turn("a free connection", is_own=True)
        await self._slots.acquire()
        try:
            check_spending()
        except BaseException:
            self._slots.release()
            raise

    async def __aexit__(
        self, exc_type: object, error: BaseException | None, traceback: object
    ) -> None:
        self._slots.release()


def _decode(response: Response, secrets: Secrets) -> DecodedBody:
    request_id = _request_id(response)
    try:
        data = decode_body(response.content)
    except errors.ServerError as error:
        attach_request_id(error, request_id)
        raise

    return DecodedBody(_mask_failure(data, secrets), request_id, secrets)


def _mask_failure(data: JSONObject, secrets: Secrets) -> JSONObject:
    """Mask the error in a Response that failed: it is the server's words, and none of the model's.

    A response of a stream is in the event that ends it, under `response`.
    """
    if data.get("error"):
        return {**data, "error": secrets.mask(data["error"])}

    response = data.get("response")
    if isinstance(response, dict) and response.get("error"):
        return {**data, "response": _mask_failure(response, secrets)}

    return data


def _unstreamed_error(content: bytes) -> errors.ServerError:
    """Make the error for a streamed call that was answered in one piece.

    Returns:
        The server's own error, if the answer is one.

    Raises:
        MalformedAnswerError: the answer is not even a JSON object.
    """
    data = parse_object(content)
    error = find_error(data)
    if error is not None:
        return error

    return errors.MalformedAnswerError("The server answered a streamed call in one piece.")


def _request_id(response: Response | StreamingResponse) -> str | None:
    return response.headers.get("x-request-id")
