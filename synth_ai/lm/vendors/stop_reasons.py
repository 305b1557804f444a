"""Why an answer stops short: the words of servers and engines, and ours for them. Pure.

A response has one of ours in `incomplete_reason`, whatever API it came over.
"""

from __future__ import annotations

from collections.abc import Mapping

from synth_ai.lm.vendors.wire import require_str

#: The answer has as many tokens as it may have, or as the context has room for.
MAX_OUTPUT_TOKENS = "max_output_tokens"

#: A filter of the server's cut the answer off.
CONTENT_FILTER = "content_filter"

#: The server or the engine gave up in the middle.
INTERRUPTED = "interrupted"

#: The model broke out of the shape that an answer must have, by a control token in the answer or by
#: a call that cannot be read; gpt-oss alone.
CONTROL_TOKEN = "control_token"

_OURS: Mapping[str, str] = {
    "length": MAX_OUTPUT_TOKENS,  # Chat Completions, vLLM
    "max_tokens": MAX_OUTPUT_TOKENS,
    "max_output_tokens": MAX_OUTPUT_TOKENS,  # Responses
    "model_length": MAX_OUTPUT_TOKENS,  # Mistral
    "model_context_window_exceeded": MAX_OUTPUT_TOKENS,  # Z.ai
    "content_filter": CONTENT_FILTER,
    "sensitive": CONTENT_FILTER,  # Z.ai
    "safety": CONTENT_FILTER,  # Gemini
    "abort": INTERRUPTED,  # vLLM
    "insufficient_system_resource": INTERRUPTED,  # DeepSeek
    "network_error": INTERRUPTED,  # Z.ai
}


def find_incomplete_reason(stop_reason: str | None) -> str | None:
    """Find our word for why an answer stopped short.

    ::

        "length", "MAX_TOKENS"             ->  "max_output_tokens"
        "stop", "tool_calls", "eos", None  ->  None: it is complete

    Raises:
        TypeError: a server has sent something else than a word.
    """
    if stop_reason is None:
        return None
    return _OURS.get(require_str(stop_reason).lower())
