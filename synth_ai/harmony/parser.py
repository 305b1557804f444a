"""Token ids to answers, incrementally and tolerantly: it takes whatever a model emits and never raises on it.

Ids become bytes with a marker for each control token, so that splitting and decoding run at C speed however many
ids come at once. A completion is then a row of markers and stretches of text, which a small machine walks through: in
the header of a message, or in its body.
"""

from __future__ import annotations

import re
from codecs import utf_8_decode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, cast

from synth_ai.events import PreambleDelta, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.harmony import recovery
from synth_ai.harmony.arguments import read_arguments
from synth_ai.harmony.completion import (
    Completion,
    Event,
    Finish,
    Kind,
    ParsedMessage,
    ToolCall,
    joined,
)
from synth_ai.harmony.headers import CHANNEL_MARK, CONSTRAIN_MARK, read_header
from synth_ai.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    END_OF_TEXT,
    MESSAGE,
    RETURN,
    START,
    token_bytes,
)
from synth_ai.harmony.tool_names import Offered
from synth_ai.harmony.tools import Tool

FinishReason = Literal["stop", "length"] | str

# 0xFF never stands in UTF-8, so it can introduce a marker; the token of that byte reads as U+FFFD anyway.
_MARKERS = {
    START: b"S",
    MESSAGE: b"M",
    CHANNEL: b"H",
    CONSTRAIN: b"K",
    END: b"E",
    CALL: b"C",
    RETURN: b"R",
}
_MARKERS[END_OF_TEXT] = _MARKERS[RETURN]
_MARKER = re.compile(rb"\xff(.)")
_DELTAS: dict[str, type[TextDelta | ReasoningDelta | PreambleDelta]] = {
    "final": TextDelta,
    "reasoning": ReasoningDelta,
    "preamble": PreambleDelta,
}
_GARBLED = "a garbled message header was read as best it could be"
_KINDS: dict[str, Kind] = {"analysis": "reasoning", "commentary": "preamble", "final": "final"}


class _Bytes(dict[int, bytes]):
    def __missing__(self, token_id: int) -> bytes:
        return b"\xff?"


@cache
def _bytes() -> _Bytes:
    """The bytes of every ordinary token and the marker of every other id."""
    known = _Bytes(enumerate(token.replace(b"\xff", "\ufffd".encode()) for token in token_bytes()))
    known.update((token, b"\xff" + letter) for token, letter in _MARKERS.items())
    return known


@dataclass(slots=True)
class Body:
    """A message whose header has been read.

    Attributes:
        header: the header's text, or None for a message recovered from text that has no ids of its own.
        clean: whether the header is well-formed.
        implied: whether the prompt holds the start of the header, as for the first message of a completion.
        started, opened, ended: the place of `<|start|>`, `<|message|>` and the end of the message among the
            control tokens of the completion, None where there is none.
        end: the marker that ended it, or "".
        begun: whether its text is handed out as it comes.
        code: whether a call's argument is code, as the built-in `python`'s is, and not JSON.
        said: what has been handed out of a call's arguments; `held`: blanks behind it, which count if more follows.
        late: whether a call's arguments are handed out only when they are complete.
    """

    role: str
    name: str | None
    code: bool = False
    header: str | None = None
    clean: bool = False
    implied: bool = False
    started: int | None = None
    opened: int = 0
    ended: int | None = None
    end: str = ""
    texts: list[str] = field(default_factory=list)
    begun: bool = False
    said: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    late: bool = False

    @property
    def text(self) -> str:
        return "".join(self.texts)


@dataclass(frozen=True, slots=True)
class Record:
    """A message that counts (or several calls made in one), and where it stands in the completion."""

    body: Body
    messages: tuple[ParsedMessage, ...]


class StreamParser:
    """Parses a completion as its ids come.

    ::

        parser = StreamParser(tools=tools)
        for ids in stream:
            for event in parser.feed(ids): ...
        completion = parser.close("stop")
        for event in parser.pending(): ...

    The deltas of all events together are what `parse` gives for all ids at once, however the ids are split.

    Args:
        tools: the tools of the request, as specifications or names. Without any, every name is taken as it comes;
            with some, a name outside of them is still surfaced, with a warning.
    """

    def __init__(self, *, tools: Iterable[Tool] = ()) -> None:
        self.records: list[Record] = []
        self._offered = Offered.of(tools)
        self._events: list[Event] = []
        self._warnings: dict[str, None] = {}
        self._completion: Completion | None = None
        self._kinds: Counter[str] = Counter()
        self._loose: list[ParsedMessage] = []
        self._head: list[str] = []
        self._body: Body | None = None
        self._undecoded = b""
        self._markers = 0
        self._implied = True
        self._started: int | None = None
        self._stopped = ""
        self._broken = False
        self._over = False

    def feed(self, ids: Iterable[int]) -> list[Event]:
        """Take the next ids, and return what they add.

        Raises:
            RuntimeError: the parser is closed.
        """
        if self._completion is not None:
            raise RuntimeError(
                "This parser is closed: a completion is whole, and further ids need a parser of their own."
            )
        first, *rest = _MARKER.split(b"".join(map(_bytes().__getitem__, ids)))
        self._text(first)
        steps = iter(rest)
        for marker, text in zip(steps, steps, strict=True):
            if self._over:
                break
            self._control(marker.decode())
            self._text(text)
        return self.pending()

    def close(self, finish_reason: FinishReason = "stop") -> Completion:
        """End the completion. Deltas that could not be known before are then `pending()`.

        Args:
            finish_reason: why the engine stopped: `"length"` if it cut the completion off.
        """
        if self._completion is None:
            self._completion = self._finished(cut=finish_reason == "length")
        return self._completion

    def pending(self) -> list[Event]:
        """Deltas that have not been handed out yet: after `close`, those that it settled."""
        events, self._events = self._events, []
        return events

    def _text(self, chunk: bytes) -> None:
        if not chunk or self._over:
            return
        if self._undecoded:
            chunk = self._undecoded + chunk
        text, used = utf_8_decode(chunk, "replace", False)
        self._undecoded = chunk[used:]
        body = self._body
        if body is None:
            self._head.append(text)
            return
        body.texts.append(text)
        if body.role == "tool_call":
            self._say_arguments(body, text)
        elif body.begun:
            self._events.append(_DELTAS[body.role](text))
        elif body.role in _DELTAS and text.strip():
            self._begin(body)

    def _begin(self, body: Body) -> None:
        """The first text of a message: blanks before it have waited, as blanks alone are no message."""
        if body.role == "preamble" and body.name is None and body.text.lstrip()[0] == "{":
            body.role = "untargeted"  # it may turn out to be a call
            return
        body.begun = True
        self._say(body.role, body.text)

    def _say_arguments(self, body: Body, text: str) -> None:
        """Arguments as they come, if they begin as they should; others wait until the whole can be read."""
        if body.late:
            return
        ready = text if body.code else text.rstrip()
        if not body.code and not body.said:
            ready = ready.lstrip()
            body.late = body.name is None or ready[:1] not in ("", "{")
            if body.late:
                return
        if ready:
            ready = "".join((*body.held, ready))
            body.held.clear()
            self._events.append(
                ToolCallDelta(self._kinds["tool_call"], None if body.said else body.name, ready)
            )
            body.said.append(ready)
        if body.said and not body.code:
            body.held.append(text[len(text.rstrip()) :])

    def _say(self, kind: str, text: str) -> None:
        self._events.append(_DELTAS[kind]("\n" + text if self._kinds[kind] else text))
        self._kinds[kind] += 1

    def _control(self, marker: str) -> None:
        self._markers += 1
        if marker == "?":
            self._warn("ids that stand for no text were left out")
        elif self._body is not None and marker in "MK":
            self._warn("a control token inside a message was left out")
        elif self._body is None and marker in "HK":
            self._spell_broken()
            self._head.append(CHANNEL_MARK if marker == "H" else CONSTRAIN_MARK)
        elif marker == "M":
            self._open()
        else:
            self._end(marker)

    def _spell_broken(self) -> None:
        """Bytes that are no text must not make a header look better than it is."""
        if self._undecoded:
            self._head.append("\ufffd")
            self._undecoded = b""

    def _open(self) -> None:
        """The header is complete; the body of a message begins."""
        self._spell_broken()
        text = "".join(self._head)
        header = read_header(text, self._offered, self._implied)
        clean = header.clean and (self._implied or self._started is not None)
        self._body = Body(
            header.role,
            header.name,
            header.code,
            text,
            clean,
            self._implied,
            self._started,
            self._markers - 1,
        )
        if not clean and header.role in ("tool_call", *_DELTAS):
            self._warn(_GARBLED)
        self._undecoded = b""
        self._stopped = ""
        if header.role == "turn" and self._answered():
            self._warn("the model went on to speak for the user; that was left out")
            self._body, self._over = None, True

    def _end(self, marker: str) -> None:
        """A message ends, or a header that never came to its message, and the next header begins."""
        body, self._body = self._body, None
        if body is None:
            self._headless(marker)
        else:
            body.ended, body.end = self._markers - 1, marker
            self._close_body(body, cut=False)
        self._undecoded = b""
        self._head = [CHANNEL_MARK] if marker == "H" else []
        self._implied = False
        self._started = self._markers - 1 if marker == "S" else None
        self._stopped = marker if marker in "RC" else ""
        self._over = marker == "R" and self._answered()

    def _answered(self) -> bool:
        return bool(self._kinds["final"] or self._kinds["tool_call"])

    def _close_body(self, body: Body, *, cut: bool) -> None:
        text = body.text
        if body.begun:
            self._record(body, ParsedMessage(_kind(body.role), text))
        elif body.role == "tool_call":
            self._call(body, cut=cut)
        elif body.role == "untargeted":
            self._untargeted(body, cut=cut)
        elif body.role == "author" and body.end == "C":
            self._call(body, cut=cut)
        elif body.role == "unclear" and text.strip():
            self._loose = [ParsedMessage("final", text)]
        elif body.role in ("author", "turn", "foreign"):
            self._warn("a message that was not the model's to write was left out")

    def _call(self, body: Body, *, cut: bool) -> None:
        """Surface the call, or the calls, that the body makes."""
        name = body.name
        if name is None:
            arguments, repaired = [], None
        elif body.code:
            arguments, repaired = [] if cut else [body.text], None
        else:
            arguments, repaired = read_arguments(body.text, cut=cut)
        if name is None or not arguments:
            self._broken = True
            self._warn(f"a tool call without complete arguments was left out: {name or 'no name'}")
            return
        if repaired:
            self._warn(f"{name}: {repaired}")
        if not self._offered.includes(name):
            self._warn(f"the model called {name}, which is not among the tools")
        said = "".join(body.said)
        for text in arguments:
            if not said or not text.startswith(said):
                self._events.append(ToolCallDelta(self._kinds["tool_call"], name, text))
            elif rest := text[len(said) :]:
                self._events.append(ToolCallDelta(self._kinds["tool_call"], None, rest))
            said = ""
            self._kinds["tool_call"] += 1
        self._record(body, *(ParsedMessage("tool_call", text, name) for text in arguments))

    def _untargeted(self, body: Body, *, cut: bool) -> None:
        """A message that looks like a call and names no tool."""
        body.name = self._offered.only()
        calls, _ = read_arguments(body.text, cut=cut)
        if (calls and body.name) or body.end == "C" or CONSTRAIN_MARK in (body.header or ""):
            body.clean = False
            if body.name:
                self._warn(
                    f"a call that named no tool was taken for one of {body.name}, the only tool"
                )
            self._call(body, cut=cut)
        elif body.text.strip():
            body.role, body.name = "preamble", None
            self._say("preamble", body.text)
            self._record(body, ParsedMessage("preamble", body.text))

    def _headless(self, marker: str = "", *, cut: bool = False) -> None:
        """Text that no `<|message|>` turned into a message, and the marker that ended it."""
        text = "".join(self._head)
        if not text:
            return
        found = recovery.sections(text, self._offered.functions)
        if cut and found and not recovery.reads_as_content(found[-1].text):
            del found[-1]
        loose: list[ParsedMessage] = []
        for section in found:
            last = section is found[-1]
            kind = _KINDS[section.channel]
            called = self._offered.resolve(
                section.recipient or "", channel=section.named, typed=section.typed
            )
            if called:
                self._warn(_GARBLED)
                self._call(
                    Body("tool_call", called.name, called.code, texts=[section.text]),
                    cut=cut and last,
                )
            elif not section.text.strip():
                continue
            elif (
                last and kind != "reasoning"
            ):  # it may be the rest of a header, so see first what follows
                loose.append(ParsedMessage(kind, section.text))
            else:
                self._say(kind, section.text)
                self._record(Body(kind, None), ParsedMessage(kind, section.text))
        answer = None if found else recovery.plain(text)
        if cut and (self._started is not None or "assistant".startswith(text.strip())):
            answer = None
        if (
            self._broken and self._started is None
        ):  # the rest of a call that a stray control token broke
            answer = None
        if answer and answer.strip() and "C" not in (marker, self._stopped):
            loose.append(ParsedMessage("final", answer))
        if loose:
            self._loose = loose
        elif not found and text.strip(" \n" + CHANNEL_MARK + CONSTRAIN_MARK):
            self._warn("text outside of any message was left out")

    def _record(self, body: Body, *messages: ParsedMessage) -> None:
        """Count a message. Loose text before it was garbage, now that something well-formed follows."""
        if self._loose:
            self._loose = []
            self._warn("text outside of any message was left out")
        self.records.append(Record(body, messages))

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _finished(self, *, cut: bool) -> Completion:
        body, self._body = self._body, None
        cut = cut and (body is not None or not self._stopped)
        if body is not None:
            self._close_body(body, cut=cut)
        elif not self._over:
            self._headless(cut=cut)
        if self._loose and not self._answered():
            self._warn("an answer without a proper header was taken as it is")
            for message in self._loose:
                self._say(message.kind, message.text)
                self.records.append(Record(Body(message.kind, None), (message,)))
        messages = [message for record in self.records for message in record.messages]
        return Completion(
            messages=messages,
            final=joined(messages, "final"),
            preamble=joined(messages, "preamble"),
            reasoning=joined(messages, "reasoning"),
            tool_calls=[ToolCall(m.name or "", m.text) for m in messages if m.kind == "tool_call"],
            finish=self._finish(cut, body),
            warnings=list(self._warnings),
        )

    def _finish(self, cut: bool, body: Body | None) -> Finish:
        if self._kinds["tool_call"]:
            return "tool_calls"
        if self._kinds["final"]:
            return "length" if cut and (self._loose or (body and body.role == "final")) else "stop"
        if cut:
            return "length"
        if self._kinds["preamble"] and not self._broken and self._stopped != "C":
            return "stop"
        return "malformed"


def parse(
    token_ids: Iterable[int], *, tools: Iterable[Tool] = (), finish_reason: FinishReason = "stop"
) -> Completion:
    """What a completion says. Never raises on what a model emitted, whatever the ids.

    Args:
        token_ids: the sampled ids, from behind the generation prompt, with or without the stop token.
        tools: the tools of the request, as specifications or names; without any, every name is taken as it comes.
        finish_reason: why the engine stopped: `"length"` if it cut the completion off, else `"stop"`.
    """
    parser = StreamParser(tools=tools)
    parser.feed(token_ids)
    return parser.close(finish_reason)


def _kind(role: str) -> Kind:
    return cast("Kind", role)
