"""Bodies of responses, read within a bound on their bytes."""

from __future__ import annotations

from synth_ai.errors import ResponseTooLargeError
from synth_ai.http.rate_limits import read_count
from synth_ai.http.transport import HTTPResponse


class BoundedBody:
    """The decompressed pieces of a body, which may have so many bytes.

    Args:
        response: what to read.
        max_bytes: the most bytes of all pieces together.

    Raises:
        ResponseTooLargeError: the head announces more.
    """

    __slots__ = ("_bytes", "_max_bytes", "_response")

    def __init__(self, response: HTTPResponse, max_bytes: int) -> None:
        length = read_count(response.headers.get("content-length")) or 0
        if length > max_bytes:
            raise _too_large(max_bytes)

        self._response = response
        self._max_bytes = max_bytes
        self._bytes = 0

    async def read_piece(self) -> bytes:
        """Read the next bytes; none at the end.

        Raises:
            ResponseTooLargeError: there are more than there may be.
            ConnectionFailedError: the connection broke.
        """
        piece = await self._response.read_piece()
        self._bytes += len(piece)
        if self._bytes > self._max_bytes:
            raise _too_large(self._max_bytes)

        return piece

    async def read(self) -> bytes:
        """Read all that is left.

        Raises what `read_piece` raises.
        """
        pieces: list[bytes] = []
        while True:
            piece = await self.read_piece()
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)


async def read_beginning(response: HTTPResponse, max_bytes: int) -> bytes:
    """Read so many bytes of a body, or all of it if it has less."""
    beginning = bytearray()
    while len(beginning) < max_bytes:
        piece = await response.read_piece()
        if not piece:
            break
        beginning += piece

    return bytes(beginning[:max_bytes])


def _too_large(max_bytes: int) -> ResponseTooLargeError:
    return ResponseTooLargeError(
        f"The server's answer is larger than max_response_bytes={max_bytes}, so the rest of it "
        "was not read. Give LM(max_response_bytes=...) more if such answers are right."
    )
