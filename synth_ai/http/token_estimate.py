"""How many tokens a request is about to use, guessed before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: About how many characters of text make a token.
_CHARACTERS_PER_TOKEN = 4

#: Tokens of a picture, a sound or a file, whatever its size in bytes. OpenAI charges 85 for a picture in low detail
#: and from several hundred to about 1,500 in high detail, so this errs a little to the safe side for most.
#: https://platform.openai.com/docs/guides/images-vision
PAYLOAD_TOKENS = 1000

#: Names under which payloads go without `data:` in front: sounds, files, generated pictures.
_PAYLOADS = frozenset({"data", "file_data", "result"})

_PROMPT = ("input", "messages", "instructions", "tools")


def estimate_tokens(body: Mapping[str, Any]) -> int:
    """About how many tokens a request will use: its prompt, and all that it may generate."""
    limit = (
        body.get("max_output_tokens")
        or body.get("max_completion_tokens")
        or body.get("max_tokens")
        or 0
    )
    characters = sum(_characters(body[part]) for part in _PROMPT if part in body)
    return characters // _CHARACTERS_PER_TOKEN + int(limit)


def _characters(value: Any, name: str = "") -> int:
    """The length of the texts and names in plain data, where a payload counts for `PAYLOAD_TOKENS` at most."""
    if isinstance(value, str):
        if name in _PAYLOADS or value.startswith("data:"):
            return min(len(value), PAYLOAD_TOKENS * _CHARACTERS_PER_TOKEN)
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(name) + _characters(inner, name) for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return sum(_characters(inner) for inner in value)
    return 0
