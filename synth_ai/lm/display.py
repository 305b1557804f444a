"""How a response looks in a notebook: Markdown whose only HTML is ours, with everything from the model escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from synth_ai.lm.items import name_and_text

if TYPE_CHECKING:
    from synth_ai.lm.response import BaseLMResponse


def response_markdown(response: BaseLMResponse) -> str:
    """The answer as the model wrote it (escaped), its reasoning folded, its tool calls and counts below."""
    blocks = []
    if response.reasoning:
        blocks.append(f"<details><summary>Reasoning</summary>\n\n{_safe(response.reasoning)}\n\n</details>")
    if response.preamble:
        blocks.append(f"*{_safe(response.preamble)}*")
    if response.raw_response:
        blocks.append(_safe(response.raw_response))
    for call in response.tool_calls or ():
        name, text = name_and_text(call)
        blocks.append(f"Calls <code>{_safe(name)}({_safe(text)})</code>")
    blocks.append(f"<small>{escape(_footer(response))}</small>")
    return "\n\n".join(blocks)


def _safe(text: str) -> str:
    """Model text with its HTML made harmless; Markdown stays."""
    return escape(text, quote=False)


def _footer(response: BaseLMResponse) -> str:
    facts = [response.model, response.api_type, response.response_id]
    if response.status != "completed":
        facts.append(f"{response.status}: {response.incomplete_reason or response.error or ''}".rstrip(": "))
    if response.usage:
        facts.append(f"{response.usage.input_tokens} in, {response.usage.output_tokens} out")
    facts += response.warnings
    return " · ".join(fact for fact in facts if fact)
