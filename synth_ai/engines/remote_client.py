"""JSON to and from a token server over the openai SDK's client, with its errors translated once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from synth_ai import errors

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

_BY_STATUS: Mapping[int, type[errors.ServerError]] = {
    401: errors.AuthenticationFailedError,
    403: errors.AuthenticationFailedError,
    404: errors.NotFoundError,
    408: errors.TimedOutError,
    429: errors.RateLimitError,
}


class RemoteClient:
    """Calls to one server from any event loop: each loop gets a pool of connections of its own.

    Args:
        base_url: ends in `/v1`.
        api_key: sent as a bearer key; None where the server wants none.
        timeout: seconds until an answer, or the next event of a stream, must have come.
        max_retries: how often the SDK asks again after a refused connection, 408, 409, 429 or 5xx.
        headers: sent with every request.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None, timeout: float, max_retries: int, headers: Mapping[str, str]
    ) -> None:
        self.base_url = base_url
        # The SDK would take OPENAI_API_KEY where it gets no key, and that one is not for this server.
        self._api_key = api_key or "none"
        self._timeout = timeout
        self._max_retries = max_retries
        self._headers = dict(headers)
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()
        self._lock = threading.Lock()

    async def get(self, path: str) -> dict[str, Any]:
        """GET a path and return the decoded answer.

        Raises:
            ServerError: of the class that fits.
        """
        with translated(self.base_url):
            return _object(await self._client().get(path, cast_to=object))

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a JSON body and return the decoded answer.

        Raises:
            ServerError: of the class that fits.
        """
        with translated(self.base_url):
            return _object(await self._client().post(path, cast_to=object, body=body))

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """POST a JSON body and yield the events of the answer; closing this closes the connection.

        Raises:
            ServerError: of the class that fits.
        """
        from openai import AsyncStream

        with translated(self.base_url):
            events = await self._client().post(
                path, cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object]
            )
            try:
                async for event in events:
                    yield _object(event)
            finally:
                await events.close()

    async def aclose(self) -> None:
        """Close the connections of this loop, and let go of those of other loops."""
        with self._lock:
            clients, self._clients = self._clients, WeakKeyDictionary()
        if client := clients.get(asyncio.get_running_loop()):
            await client.close()

    def _client(self) -> AsyncOpenAI:
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._clients:
                # Connections keep their loop alive, so a closed one has to be let go by hand.
                for other in [other for other in self._clients if other.is_closed()]:
                    del self._clients[other]
                self._clients[loop] = self._new_client()
            return self._clients[loop]

    def _new_client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        client = AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._api_key,
            timeout=self._timeout,
            max_retries=self._max_retries,
            default_headers=self._headers,
        )
        # Read from the environment by the SDK, and no business of this server.
        client.organization = client.project = None
        return client


@contextmanager
def translated(base_url: str) -> Iterator[None]:
    """Turn the SDK's errors into ours, keeping the cause.

    Raises:
        ServerError: of the class that fits.
    """
    import openai

    try:
        yield
    except openai.APITimeoutError as error:
        raise errors.TimedOutError(f"{base_url} did not answer in time; the request may still have run.") from error
    except openai.APIConnectionError as error:
        raise errors.ConnectionFailedError(f"Cannot reach {base_url}: {error.__cause__ or error}") from error
    except openai.APIStatusError as error:
        raise _from_status(base_url, error) from error
    except openai.APIError as error:
        raise _from_event(error.message, error.body) from error
    except json.JSONDecodeError as error:
        raise errors.MalformedAnswerError(f"{base_url} sent what is not JSON: {error.doc[:200]!r}") from error


def _object(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise errors.MalformedAnswerError(f"The server's answer is no JSON object: {str(answer)[:200]!r}", body=answer)
    # vLLM sends some of its errors with status 200.
    if isinstance(inner := answer.get("error"), dict):
        raise _from_event(str(inner.get("message")), inner)
    return answer


def _from_status(base_url: str, error: APIStatusError) -> errors.ServerError:
    return _class_of(error.status_code)(
        f"{base_url} answered {error.status_code}: {_message(error.body) or error.message}",
        status_code=error.status_code,
        request_id=error.request_id,
        code=error.code,
        body=error.body,
    )


def _from_event(message: str, body: object) -> errors.ServerError:
    code = body.get("code") if isinstance(body, dict) else None
    kind = _class_of(code) if isinstance(code, int) else errors.OverloadedError
    return kind(f"The server ended the answer with an error: {message}", code=str(code), body=body)


def _class_of(status: int) -> type[errors.ServerError]:
    fallback = errors.OverloadedError if status >= 500 else errors.RejectedError
    return _BY_STATUS.get(status, fallback)


def _message(body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    message = body.get("message")
    return str(message) if message else _message(body.get("error"))
