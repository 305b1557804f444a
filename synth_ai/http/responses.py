"""What a server answers: a decoded body or a stream of events, and its id of the request."""

from __future__ import annotations

import json
import reprlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from pydantic_core import from_json

from synth_ai.errors import MalformedAnswerError, ServerError
from synth_ai.http.error_mapping import error_from_body
from synth_ai.http.secrets import Secrets
from synth_ai.surrogates import mend_object, spells_half

T = TypeVar("T")

#: How deep JSON of a server may be nested. Answers of all services have ten levels or so; what
#: copies, stores and prints an answer later gives up at some hundred.
_MAX_DEPTH = 100

#: The most bytes of an answer that is not JSON that its error shows.
_MAX_TEXT_BYTES = 2**20

#: More tokens than any call has used.
_MAX_TOKENS = 2**53

JSONObject: TypeAlias = dict[str, Any]
"""A JSON object of a server's, of which nothing has been checked yet."""


@dataclass(frozen=True, slots=True)
class DecodedBody:
    """A decoded body.

    Attributes:
        data: the JSON object in it.
        request_id: the server's id of the request.
        secrets: what errors about the data may not show.
    """

    data: Mapping[str, Any]
    request_id: str | None
    secrets: Secrets

    def read(self, reader: Callable[[Mapping[str, Any]], T]) -> T:
        """Apply a function to the data. Its errors get the id of the request, and are masked.

        Args:
            reader: takes the data, and may raise a ServerError where it is not as documented.
        """
        try:
            return reader(self.data)
        except ServerError as error:
            attach_request_id(error, self.request_id)
            self.secrets.mask_error(error)
            raise


@dataclass(slots=True)
class StreamInfo:
    """What is known of a stream besides its events, as soon as the server begins to answer.

    Attributes:
        request_id: the server's id of the request.
        secrets: what errors about the events may not show, once the call was sent.
    """

    request_id: str | None = None
    secrets: Secrets | None = None


class EventStream:
    """The decoded server-sent events of an answer, to be read with `async for`.

    `async with` ends the connection at the end of the block, whose errors get the id of the
    request, and are masked.

    Args:
        read: makes the events, and fills in the information that it is given.
        secrets: what errors about the events may not show, as long as the call was not sent.
    """

    def __init__(
        self,
        read: Callable[[StreamInfo], AsyncGenerator[JSONObject, None]],
        secrets: Secrets,
    ) -> None:
        self._secrets = secrets
        # The generator gets the information and not this object: in a cycle of the two, a stream
        # that is dropped would keep its connection until the next garbage collection.
        self._info = StreamInfo()
        self._events = read(self._info)

    @property
    def request_id(self) -> str | None:
        """The server's id of the request; None until the first event."""
        return self._info.request_id

    def __aiter__(self) -> AsyncIterator[JSONObject]:
        return self._events

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(
        self, exc_type: object, error: BaseException | None, traceback: object
    ) -> None:
        if isinstance(error, ServerError):
            attach_request_id(error, self.request_id)
            secrets = self._info.secrets or self._secrets
            secrets.mask_error(error)
        await self.aclose()

    async def aclose(self) -> None:
        """End the connection."""
        await self._events.aclose()


def attach_request_id(error: BaseException | None, request_id: str | None) -> None:
    """Give an error of the server the id of its request, unless it has one."""
    if isinstance(error, ServerError) and error.request_id is None:
        error.request_id = request_id


def decode_body(content: bytes) -> JSONObject:
    """Decode the JSON object in a body that came with a status of success.

    Raises:
        MalformedAnswerError: the body is not a JSON object.
        ServerError: the object is an error.
    """
    data = parse_object(content)
    if spells_half(content):
        data = mend_object(data)

    error = find_error(data)
    if error is not None:
        raise error

    return data


def parse_object(content: bytes) -> JSONObject:
    """Parse a body, which may be an error.

    Raises:
        MalformedAnswerError: the body is not a JSON object.
    """
    try:
        data = _parse(content)
    except (ValueError, RecursionError) as error:
        text = content[:_MAX_TEXT_BYTES].decode("utf-8", "replace")
        raise MalformedAnswerError(
            f"The server's answer is not JSON: {text[:200]!r}", body=text
        ) from error

    if content.count(b"{") + content.count(b"[") > _MAX_DEPTH:
        _check_depth(data)

    if not isinstance(data, dict):
        raise MalformedAnswerError(
            f"The server's answer is not a JSON object: {reprlib.repr(data):.200}", body=data
        )

    return data


def _parse(content: bytes | str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deep.
    """
    try:
        return from_json(content, cache_strings="keys")
    except ValueError:
        # Half as fast, and it reads halves of surrogate pairs and UTF-16 too.
        return json.loads(content)


def _check_depth(data: object) -> None:
    """Refuse JSON that is nested too deep, level by level: a recursion would not come back.

    Raises:
        MalformedAnswerError: it is.
    """
    level = [data]
    for _ in range(_MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below

    raise MalformedAnswerError(
        f"The server's answer is nested more than {_MAX_DEPTH} levels deep, which no API's is."
    )


def find_error(data: JSONObject) -> ServerError | None:
    """Find the error in a body that came with status 200, as vLLM and other servers send some."""
    error = data.get("error")
    if not isinstance(error, dict):
        return None

    # A Response has an `error` too; it is a result, which says "failed" and may have output.
    if data.get("object") not in (None, "error"):
        return None

    return error_from_body(error, "The server answered 200 with an error inside")


def decode_event(text: str) -> JSONObject:
    """Decode the JSON object in an event of a stream.

    Returns:
        The object; an empty one for other JSON, which no API here sends.

    Raises:
        MalformedAnswerError: the event is not JSON.
        ServerError: it is an error.
    """
    try:
        data = _parse(text)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError(
            f"An event of the stream is not JSON: {text[:200]!r}", body=text
        ) from error

    if text.count("{") + text.count("[") > _MAX_DEPTH:
        _check_depth(data)

    if not isinstance(data, dict):
        return {}

    failure = data.get("error")
    if not failure:
        return data

    # Some servers send the message alone.
    body = failure if isinstance(failure, dict) else {"message": failure}
    raise error_from_body(body, "The stream ended with an error")


def total_tokens(data: Mapping[str, object]) -> int | None:
    """Read how many tokens a call used from its answer, or from an event of it.

    Returns:
        The number; None if the server does not report it here.
    """
    usage = data.get("usage")
    if usage is None:
        # The last events of a stream of the Responses API have the whole response in them.
        response = data.get("response")
        usage = response.get("usage") if isinstance(response, Mapping) else None

    total = usage.get("total_tokens") if isinstance(usage, Mapping) else None
    # What counts with it takes a float, which has an end.
    if isinstance(total, int) and 0 <= total <= _MAX_TOKENS:
        return total
    return None
