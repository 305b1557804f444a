"""The last stage of parsing: messages as they were written become a completion.

What is well-formed is taken as it is. The rest is repaired if it is clear what was meant: arguments
that are not JSON, calls that name no tool, text outside of any message. All of that leaves a
warning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from synth_ai.harmony.arguments import read_arguments
from synth_ai.harmony.channels import CHANNEL_OF_KIND
from synth_ai.harmony.completion import Completion, Finish, ParsedMessage, ToolCall, join_texts
from synth_ai.harmony.deltas import DeltaQueue
from synth_ai.harmony.drafts import HeaderDraft, Location, MessageDraft
from synth_ai.harmony.headers import CHANNEL_MARK, CONSTRAIN_MARK, Header
from synth_ai.harmony.recovery import Section, looks_like_content, plain_text, split_sections
from synth_ai.harmony.tokens import CALL
from synth_ai.harmony.tool_names import CODE_TOOL, OfferedTools

GARBLED_HEADER = "a garbled message header was read as best it could be"
BEHIND_CALL = "what the model wrote behind a finished tool call was left out"
_LOST_TEXT = "text outside of any message was left out"


@dataclass(slots=True)
class SampledMessage:
    """A message that counts, as the model wrote it.

    Attributes:
        parsed: what it says; several calls if their arguments stand behind each other.
        header: what its header says.
        header_text: the text of the header.
        location: where it stands; None if it was found in text that has lost its control tokens.
    """

    parsed: tuple[ParsedMessage, ...]
    header: Header
    header_text: str = ""
    location: Location | None = None


class CompletionBuilder:
    """Takes the messages of a completion one by one.

    Attributes:
        messages: those that count.
    """

    def __init__(self, tools: OfferedTools, deltas: DeltaQueue) -> None:
        self.messages: list[SampledMessage] = []
        self._tools = tools
        self._deltas = deltas
        # In the order of their first occurrence, each once.
        self._warnings: dict[str, None] = {}
        # What stands in for an answer if nothing well-formed follows.
        self._fallback: ParsedMessage | None = None
        self._has_broken_call = False

    @property
    def has_answer(self) -> bool:
        """Whether there is an answer or a call, so that the model may have ended its turn."""
        counts = self._deltas.counts
        return counts["final"] > 0 or counts["tool_call"] > 0

    @property
    def waits_for_tool(self) -> bool:
        """Whether a tool was called, be it by a call that nobody can run."""
        return self._has_broken_call or self._deltas.counts["tool_call"] > 0

    def warn(self, text: str) -> None:
        """Add a warning, unless it is there already."""
        self._warnings[text] = None

    # --- messages -----------------------------------------------------------------------------

    def add_message(self, draft: MessageDraft, *, cut: bool = False) -> None:
        """Take a message that has ended.

        Args:
            draft: the message.
            cut: whether its text may go on: the engine cut the completion off in it.
        """
        # Nearly all messages have been streamed as text.
        if draft.channel is not None:
            self._add(draft, ParsedMessage(draft.channel.kind, draft.text))
            return

        kind = draft.header.kind
        if kind == "tool_call":
            self._add_calls(draft, cut=cut)
        elif kind == "untargeted":
            self._add_untargeted(draft, cut=cut)
        # Only its end tells a call, its tool in the author's place, from an invented tool output.
        elif kind == "author" and draft.end == CALL:
            self._add_calls(draft, cut=cut)
        elif kind in ("author", "turn", "foreign"):
            self.warn("a message that was not the model's to write was left out")
        elif kind == "unclear" and draft.text.strip():
            self._fallback = ParsedMessage("final", draft.text)

    def _add(self, draft: MessageDraft, *parsed: ParsedMessage) -> None:
        # Something well-formed follows, so the text before it was garbage.
        if self._fallback is not None:
            self._fallback = None
            self.warn(_LOST_TEXT)

        self.messages.append(
            SampledMessage(parsed, draft.header, draft.header_text, draft.location)
        )

    def _add_whole(self, draft: MessageDraft, text: str) -> None:
        """Add a message of which nothing has been streamed."""
        channel = CHANNEL_OF_KIND[draft.header.kind]
        self._deltas.add_text(channel, text)
        self._add(draft, ParsedMessage(channel.kind, text))

    def _add_calls(self, draft: MessageDraft, *, cut: bool) -> None:
        """Add the call that a message makes, or the calls."""
        name = draft.header.name
        arguments, repair = _read_arguments(draft, cut=cut)
        if name is None or not arguments:
            self._has_broken_call = True
            self.warn(f"a tool call without complete arguments was left out: {name or 'no name'}")
            return

        if repair is not None:
            self.warn(f"{name}: {repair}")
        if not self._tools.includes(name):
            self.warn(f"the model called {name}, which is not among the tools")

        sent = "" if draft.arguments is None else draft.arguments.sent
        self._deltas.add_calls(name, arguments, sent)
        calls = [ParsedMessage("tool_call", text, name) for text in arguments]
        self._add(draft, *calls)

    def _add_untargeted(self, draft: MessageDraft, *, cut: bool) -> None:
        """Add a message that looks like a call and names no tool."""
        name = self._tools.single_name()
        if self._is_call(draft, name, cut=cut):
            draft.header = Header("tool_call", name)
            if name is not None:
                self.warn(f"a call that named no tool was taken for one of {name}, the only tool")
            self._add_calls(draft, cut=cut)
        elif draft.text.strip():
            draft.header = replace(draft.header, kind="preamble", name=None)
            self._add_whole(draft, draft.text)

    def _is_call(self, draft: MessageDraft, name: str | None, *, cut: bool) -> bool:
        """Tell whether a message that names no tool calls one, perhaps in vain."""
        if draft.end == CALL:
            return True
        if CONSTRAIN_MARK in draft.header_text:
            return True
        if name is None:
            return False

        arguments, _ = read_arguments(draft.text, cut=cut)
        return bool(arguments)

    # --- headers without a message ------------------------------------------------------------

    def recover(self, draft: HeaderDraft, *, end: int | None = None, cut: bool = False) -> None:
        """Take a header that no `<|message|>` followed, for the text that may be in it.

        Args:
            draft: the header.
            end: the token that ended it; None if there is none.
            cut: whether it may go on: the engine cut the completion off in it.
        """
        text = draft.text
        if not text:
            return

        sections = split_sections(text, self._tools.functions)
        if cut:
            sections = _drop_cut_header(sections)
        if sections:
            self._add_sections(sections, cut=cut)
            return

        answer = self._find_answer(text, draft, end=end, cut=cut)
        if answer is not None:
            self._fallback = ParsedMessage("final", answer)
        elif text.strip(f" \n{CHANNEL_MARK}{CONSTRAIN_MARK}"):
            self.warn(_LOST_TEXT)

    def _add_sections(self, sections: list[Section], *, cut: bool) -> None:
        """Add the messages that were found in a text."""
        for section in sections:
            is_last = section is sections[-1]
            tool = self._tools.resolve(
                section.recipient or "", has_channel=section.has_channel, has_type=section.has_type
            )
            if tool is not None:
                self.warn(GARBLED_HEADER)
                header = Header("tool_call", tool.name, tool.code)
                draft = MessageDraft(header, texts=[section.text])
                self._add_calls(draft, cut=cut and is_last)
                continue

            if not section.text.strip():
                continue

            # The last one may be the rest of a header, so see first what follows. Reasoning is not
            # shown to the user, so that it does no harm.
            kind = section.channel.kind
            is_certain = kind == "reasoning" or not is_last
            if is_certain:
                self._add_whole(MessageDraft(Header(kind)), section.text)
            else:
                self._fallback = ParsedMessage(kind, section.text)

    def _find_answer(
        self, text: str, draft: HeaderDraft, *, end: int | None, cut: bool
    ) -> str | None:
        """Find the answer in text without any markup; None if there is none."""
        # Text that was meant for a tool is not shown to the user.
        if CALL in (draft.after, end):
            return None

        # A header that was cut off: text behind `<|start|>`, or a part of the word "assistant".
        has_start = draft.start is not None
        is_cut_header = cut and (has_start or "assistant".startswith(text.strip()))
        if is_cut_header:
            return None

        # A stray control token broke a call into two: this is its second half.
        is_rest_of_call = self._has_broken_call and not has_start
        if is_rest_of_call:
            return None

        answer = plain_text(text) or ""
        return answer if answer.strip() else None

    # --- the completion -----------------------------------------------------------------------

    def build(
        self, *, last_message: MessageDraft | None, stop: int | None, cut: bool
    ) -> Completion:
        """Build the completion, once all of its messages are added.

        Args:
            last_message: the message that no token ended, if there is one.
            stop: the control token that the completion ended behind, if there is one.
            cut: whether the engine cut the completion off.
        """
        if not self.has_answer:
            self._add_fallback()

        parsed: list[ParsedMessage] = []
        for message in self.messages:
            parsed += message.parsed

        return Completion(
            messages=parsed,
            final=join_texts(parsed, "final"),
            preamble=join_texts(parsed, "preamble"),
            reasoning=join_texts(parsed, "reasoning"),
            tool_calls=_list_calls(parsed),
            finish=self._finish(last_message, stop, cut=cut),
            warnings=list(self._warnings),
        )

    def _add_fallback(self) -> None:
        message = self._fallback
        if message is None:
            return

        self.warn("an answer without a proper header was taken as it is")
        self._deltas.add_text(CHANNEL_OF_KIND[message.kind], message.text)
        self.messages.append(SampledMessage((message,), Header(message.kind)))

    def _finish(self, last_message: MessageDraft | None, stop: int | None, *, cut: bool) -> Finish:
        counts = self._deltas.counts
        if counts["tool_call"] > 0:
            return "tool_calls"

        # An answer that is complete stays so, whatever was cut off behind it.
        if counts["final"] > 0:
            in_answer = last_message is not None and last_message.header.kind == "final"
            is_cut = cut and (in_answer or self._fallback is not None)
            return "length" if is_cut else "stop"

        if cut:
            return "length"

        # A preamble ends a turn too, unless the model was about to call a tool.
        wanted_call = self._has_broken_call or stop == CALL
        is_complete = counts["preamble"] > 0 and not wanted_call
        return "stop" if is_complete else "malformed"


def _read_arguments(draft: MessageDraft, *, cut: bool) -> tuple[list[str], str | None]:
    """Read the arguments of each call that a message makes, and what had to be repaired."""
    if not draft.header.code and not _is_code(draft):
        return read_arguments(draft.text, cut=cut)

    # Code is complete once the message has ended; nothing else tells.
    arguments = [] if cut else [draft.text]
    return arguments, None


def _is_code(draft: MessageDraft) -> bool:
    """Tell whether a call of the user's own `python` tool is code.

    The model has learnt to call that name with code, whatever the parameters of the tool are.
    """
    text = draft.text.lstrip()
    return draft.header.name == CODE_TOOL and text != "" and not text.startswith("{")


def _drop_cut_header(sections: list[Section]) -> list[Section]:
    """Drop the last section if its text may be the rest of its header."""
    if not sections:
        return []

    *others, last = sections
    return sections if looks_like_content(last.text) else others


def _list_calls(messages: list[ParsedMessage]) -> list[ToolCall]:
    calls = []
    for message in messages:
        if message.kind == "tool_call":
            calls.append(ToolCall(message.name or "", message.text))

    return calls
