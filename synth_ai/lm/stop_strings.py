"""Stop strings, found in an answer while it comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """A filter that lets text pass up to the first stop string.

    The end of the text so far may be the beginning of a stop string that the next piece completes,
    so it is withheld until that is known: with the stop `END`, the pieces `one E` and `NV` pass as
    `one ` and `ENV`.

    Args:
        stops: the stop strings, none of them empty.

    Attributes:
        hit: the stop string that was found; None until then.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._withheld = ""
        # Joined when somebody asks: adding each piece to one string copies it every time.
        self._passed: list[str] = []
        self.hit: str | None = None

    @property
    def text(self) -> str:
        """The text that has passed so far."""
        return "".join(self._passed)

    def feed(self, text: str) -> str:
        """Take the next piece, and return what passes of it and of what was withheld."""
        if not self._stops:
            self._passed.append(text)
            return text
        if self.hit is not None:
            return ""

        text = self._withheld + text
        end = self._find_stop(text)
        if end is None:
            end = len(text) - self._overlap(text)
            self._withheld = text[end:]
        else:
            self._withheld = ""

        passed = text[:end]
        self._passed.append(passed)
        return passed

    def flush(self) -> str:
        """Let pass what is withheld, at the end of an answer that no stop string has ended."""
        passed = self._withheld
        self._withheld = ""
        self._passed.append(passed)
        return passed

    def _find_stop(self, text: str) -> int | None:
        """Find where the first stop string begins in `text`, and note which it is."""
        found = []
        for stop in self._stops:
            position = text.find(stop)
            if position >= 0:
                found.append((position, stop))

        if not found:
            return None
        # Of two that begin at the same position, one begins the other: the cut is the same.
        position, self.hit = min(found)
        return position

    def _overlap(self, text: str) -> int:
        """Count the characters at the end of `text` that may be the beginning of a stop string."""
        return max(_overlap_with(stop, text) for stop in self._stops)


def _overlap_with(stop: str, text: str) -> int:
    """Count the characters of the longest beginning of `stop` that `text` ends with, if not all."""
    longest = min(len(stop) - 1, len(text))
    for length in range(longest, 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
