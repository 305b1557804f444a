"""Server-sent events out of bytes, in no more memory than the bytes themselves.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from collections.abc import Iterator

from synth_ai.errors import MalformedAnswerError

# What some servers begin a text in UTF-8 with. It is no part of the first event.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventDecoder:
    """Decodes the data of events from pieces of a stream, wherever they are cut.

    Lines end with LF, CR or CRLF, and an event with an empty line. Other fields than `data`, and
    comments, are left out: no API here has anything in them.
    """

    def __init__(self) -> None:
        self._is_start = True
        self._ended_with_cr = False
        # The line that has not ended yet.
        self._line = bytearray()
        # The data of the event that has not ended yet, each line of it with a line break before it.
        # As bytes: a string for each line takes many times the memory of a short line.
        self._data = bytearray()

    def feed(self, piece: bytes) -> Iterator[str]:
        """Yield the data of the events that end in the next bytes, those without data left out.

        Raises:
            MalformedAnswerError: an event is not UTF-8.
        """
        # The two characters of one line end may come in two pieces.
        if self._ended_with_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._ended_with_cr = piece.endswith(b"\r")

        self._line += piece
        if b"\n" not in piece and b"\r" not in piece:
            return

        # Of bytes, the only ends of lines are those of events.
        lines = self._line.splitlines()
        self._line = bytearray()
        if not piece.endswith((b"\n", b"\r")):
            self._line = lines.pop()

        for line in lines:
            data = self._read_line(line)
            if data is not None:
                yield data

    def finish(self) -> None:
        """Check the end of the stream; an event that has not ended there is none.

        Raises:
            MalformedAnswerError: it was cut off in the middle of a character.
        """
        _decode(self._line)

    def _read_line(self, line: bytearray) -> str | None:
        """Read a line; return the data of the event if it ends one that has data."""
        if self._is_start:
            self._is_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)

        if not line:
            data = self._data
            self._data = bytearray()
            # Without the line break before the first line.
            return _decode(data[1:]) if len(data) > 1 else None

        name, _, value = line.partition(b":")
        if name == b"data":
            self._data += b"\n"
            self._data += value.removeprefix(b" ")
        return None


def _decode(data: bytes | bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedAnswerError(
            "The stream is not UTF-8, or it was cut off in the middle of a character."
        ) from error
