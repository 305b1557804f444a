"""Harmony, the format that gpt-oss reads and writes, as pure functions over token ids.

`render` turns a conversation into a prompt and `parse` turns a completion into an answer.
`SystemPrompt`, `Transcript` and `assemble_prompt` do the former step by step, `StreamParser` the
latter. `encode` and `decode` are the tokens themselves.
"""

from synth_ai.events import PreambleDelta, ReasoningDelta, TextDelta, ToolCallDelta
from synth_ai.harmony.completion import (
    Completion,
    Event,
    ParsedMessage,
    ToolCall,
)
from synth_ai.harmony.parser import StreamParser, parse
from synth_ai.harmony.system_prompt import SystemPrompt
from synth_ai.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    CONTROL_TOKENS,
    END,
    END_OF_TEXT,
    MESSAGE,
    RETURN,
    START,
    START_OF_TEXT,
    STOP_TOKEN_IDS,
    VOCABULARY_SIZE,
    decode,
    encode,
)
from synth_ai.harmony.transcript import Transcript, assemble_prompt, render

__all__ = [
    "CALL",
    "CHANNEL",
    "CONSTRAIN",
    "CONTROL_TOKENS",
    "END",
    "END_OF_TEXT",
    "MESSAGE",
    "RETURN",
    "START",
    "START_OF_TEXT",
    "STOP_TOKEN_IDS",
    "VOCABULARY_SIZE",
    "Completion",
    "Event",
    "ParsedMessage",
    "PreambleDelta",
    "ReasoningDelta",
    "StreamParser",
    "SystemPrompt",
    "TextDelta",
    "ToolCall",
    "ToolCallDelta",
    "Transcript",
    "assemble_prompt",
    "decode",
    "encode",
    "parse",
    "render",
]
