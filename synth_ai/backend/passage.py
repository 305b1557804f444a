"""An answer on its way from the server behind to the caller, read as it passes by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import aiohttp

from synth_ai.backend.answer_reader import AnswerReader
from synth_ai.backend.continuation import ParentRestorer, restore_parent
from synth_ai.backend.replies import EVENTS_TYPE, JSON_TYPE, PiecesReply, WholeReply
from synth_ai.backend.usage import ABORTED, UsageRecord
from synth_ai.errors import ConnectionFailedError

#: Headers of an answer that are the caller's to read. Its length and encoding may have changed.
_PASSED_BACK = ("content-type", "retry-after", "retry-after-ms", "x-request-id", "openai-version")

Keep: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Keeps the body of a response, once it is whole."""


class Passage:
    """One answer on its way from the server to the caller.

    Args:
        answer: of the server, of which the headers are there.
        record: is filled with what the answer says of itself.
        broken: the event that ends a stream which breaks off.
        keep: keeps the response; None where there is none to keep.
        restored_parent: the response that the answer is to say that it continues, where the server
            does not know.
    """

    def __init__(
        self,
        answer: aiohttp.ClientResponse,
        record: UsageRecord,
        *,
        broken: bytes,
        keep: Keep | None = None,
        restored_parent: str | None = None,
    ) -> None:
        self.status = answer.status
        self.headers = select_headers(answer)
        self._is_stream = self.headers["content-type"].startswith(EVENTS_TYPE)
        self._answer = answer
        self._reader = AnswerReader(record)
        self._record = record
        self._broken = broken
        self._keep_response = keep
        self._parent_id = restored_parent
        self._restorer = None if restored_parent is None else ParentRestorer(restored_parent)
        self._is_kept = False
        self._is_over = False

    async def reply(self) -> WholeReply | PiecesReply:
        """Return the answer as it goes to the caller: in one piece, unless it is a stream."""
        if self._is_stream or (self._answer.ok and self._record.is_stream):
            return self
        return await self._read_whole()

    async def _read_whole(self) -> WholeReply:
        content = await read_whole(self._answer)
        if self._answer.ok:
            self._reader.read_body(content)
            await self._keep()
            if self._parent_id is not None:
                content = restore_parent(content, self._parent_id)
        return WholeReply(content, self.status, self.headers)

    async def next(self) -> bytes:
        """Return the next piece of a stream; none is empty but the one behind the end."""
        while not self._is_over:
            piece = await self._read_piece()
            if piece:
                return piece
        return b""

    async def aclose(self) -> None:
        """End the stream, and with it the request to the server."""
        self._is_over = True
        self._answer.close()

    async def _read_piece(self) -> bytes:
        try:
            piece = await self._answer.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError):
            piece = b""

        if not piece:
            self._is_over = True
            return self._end()

        self._reader.feed(piece)
        # Before its last event goes out: whoever has the response whole can retrieve it.
        await self._keep()
        return piece if self._restorer is None else self._restorer.feed(piece)

    def _end(self) -> bytes:
        """Return what stands behind the last piece: an error, if the answer broke off."""
        rest = b"" if self._restorer is None else self._restorer.finish()
        has_ended = self._record.status != ABORTED or not self._is_stream
        return rest if has_ended else rest + self._broken

    async def _keep(self) -> None:
        response = self._reader.response
        if self._keep_response is None or response is None or self._is_kept:
            return
        self._is_kept = True
        await self._keep_response(response)


async def read_whole(answer: aiohttp.ClientResponse) -> bytes:
    """Read an answer to its end.

    Raises:
        ConnectionFailedError: it breaks off.
    """
    try:
        async with answer:
            return await answer.read()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ConnectionFailedError("The model's server broke off its answer.") from error


def select_headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    headers = {}
    for name in _PASSED_BACK:
        if name in answer.headers:
            headers[name] = answer.headers[name]
    headers.setdefault("content-type", JSON_TYPE)
    return headers
