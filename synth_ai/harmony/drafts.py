"""What the parser reads at the moment: a header, or a message behind its header."""

from __future__ import annotations

from dataclasses import dataclass, field

from synth_ai.harmony.channels import Channel
from synth_ai.harmony.headers import Header


@dataclass(slots=True)
class Location:
    """Where a message stands in a completion.

    Positions count control tokens alone. The parser need not count the ids between them, which
    would cost more than all else it does with text.

    Attributes:
        is_first: whether the prompt holds the start of its header.
        start: the position of `<|start|>`; None if there is none.
        message: the position of `<|message|>`.
        end: the position of the token that ended it; None if there is none.
    """

    is_first: bool
    start: int | None
    message: int
    end: int | None = None


@dataclass(slots=True)
class HeaderDraft:
    """A header as far as it has come.

    Attributes:
        after: the control token before it; None for the first, of which the prompt holds the start.
        start: the position of its `<|start|>`, if it has one.
        texts: the text so far, in pieces, with marks for the control tokens in it.
    """

    after: int | None = None
    start: int | None = None
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)


class ArgumentStream:
    """The arguments of one call, handed out as they come.

    Code is handed out as it is. JSON that begins as an object is handed out without the blanks
    around it: ` {"a": 1} ` is `{"a": 1}`. Anything else has to be repaired first, which takes all
    of it, so nothing of it is handed out here.
    """

    __slots__ = ("_blanks", "_is_code", "_must_wait", "_sent")

    def __init__(self, *, is_code: bool) -> None:
        self._is_code = is_code
        self._must_wait = False
        self._sent: list[str] = []
        # Blanks behind what was sent. They count if more follows.
        self._blanks: list[str] = []

    @property
    def sent(self) -> str:
        """All that has been handed out."""
        return "".join(self._sent)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been handed out."""
        return not self._sent

    def feed(self, text: str) -> str:
        """Take more of the arguments, and return what can be handed out of them now."""
        ready = text if self._is_code else self._trim(text)
        if ready:
            self._sent.append(ready)
        return ready

    def _trim(self, text: str) -> str:
        """Remove blanks in front of the arguments, and keep those behind them for later."""
        if not self._sent:
            text = text.lstrip()
            if text[:1] not in ("", "{"):
                self._must_wait = True
        if self._must_wait:
            return ""

        trimmed = text.rstrip()
        blanks = text[len(trimmed) :]
        if trimmed:
            trimmed = "".join((*self._blanks, trimmed))
            self._blanks.clear()
        self._blanks.append(blanks)
        return trimmed


@dataclass(slots=True)
class MessageDraft:
    """A message as far as it has come.

    Attributes:
        header: what its header says.
        header_text: the text of the header.
        location: where it stands; None for a message that was found in the text of a header.
        end: the token that ended it; None if there is none.
        texts: the text so far, in pieces.
        channel: the channel as which its text is streamed. None before the first word, and for
            what is streamed otherwise or not at all.
        arguments: what has been streamed of a call; None before the first text, and if it is not
            a call.
    """

    header: Header
    header_text: str = ""
    location: Location | None = None
    end: int | None = None
    texts: list[str] = field(default_factory=list)
    channel: Channel | None = None
    arguments: ArgumentStream | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def finish(self, end: int, position: int) -> None:
        """Note the token that ended the message, and where it stands."""
        self.end = end
        if self.location is not None:
            self.location.end = position
