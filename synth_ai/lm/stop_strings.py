"""Stop strings, found in an answer while it comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through up to the first stop string, holding back what may be the beginning of one.

    Attributes:
        hit: the stop string that was found; None so far.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self._shown: list[str] = []
        self.hit: str | None = None

    @property
    def text(self) -> str:
        """The text let through so far."""
        return "".join(self._shown)

    def feed(self, text: str) -> str:
        """The part of `text`, and of what was held back before it, that may be shown now."""
        if not self._stops:
            return self._let_through(text)
        if self.hit is not None:
            return ""
        self._held += text
        found = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            at, self.hit = min(found)
            shown, self._held = self._held[:at], ""
        else:
            keep = max(_overlap(self._held, stop) for stop in self._stops)
            shown = self._held[: len(self._held) - keep]
            self._held = self._held[len(shown) :]
        return self._let_through(shown)

    def rest(self) -> str:
        """What was held back, once the answer has ended without a stop string."""
        held, self._held = self._held, ""
        return self._let_through(held)

    def _let_through(self, text: str) -> str:
        self._shown.append(text)
        return text


def _overlap(text: str, stop: str) -> int:
    """How long the longest beginning of `stop` is that `text` ends with."""
    return next(
        (n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0
    )
