"""How many tokens a request is about to use, estimated before it is sent."""

from __future__ import annotations

from collections.abc import Mapping

#: About how many characters of text make a token.
_CHARACTERS_PER_TOKEN = 4

#: Tokens of an image, a sound or a file, whatever its size in bytes. OpenAI charges 85 for an image
#: in low detail and from several hundred to about 1,500 in high detail, so for most this errs a
#: little to the safe side. https://platform.openai.com/docs/guides/images-vision
PAYLOAD_TOKENS = 1000

_PAYLOAD_CHARACTERS = PAYLOAD_TOKENS * _CHARACTERS_PER_TOKEN

# The names of payloads that do not begin with `data:`: sounds, files, generated images.
_PAYLOAD_NAMES = frozenset({"data", "file_data", "result"})

# The limit of new tokens: on the Responses API, and the new and the old one on Chat Completions.
_MAX_TOKENS_NAMES = ("max_output_tokens", "max_completion_tokens", "max_tokens")

# The parts of a body that make the prompt, on both APIs.
_PROMPT_NAMES = ("input", "messages", "instructions", "tools")


def estimate_tokens(body: Mapping[str, object]) -> int:
    """Estimate how many tokens a request will use: its prompt, and all that it may generate."""
    characters = sum(_count_characters(body[name]) for name in _PROMPT_NAMES if name in body)
    return characters // _CHARACTERS_PER_TOKEN + _read_max_tokens(body)


def _read_max_tokens(body: Mapping[str, object]) -> int:
    for name in _MAX_TOKENS_NAMES:
        max_tokens = body.get(name)
        if isinstance(max_tokens, int) and max_tokens > 0:
            return max_tokens

    return 0


def _count_characters(value: object, name: str = "") -> int:
    """Count the characters of the texts and names in plain data.

    Args:
        value: the data; other values than texts, such as numbers, count for nothing.
        name: the name under which the data stands.
    """
    if isinstance(value, str):
        length = len(value)
        is_payload = name in _PAYLOAD_NAMES or value.startswith("data:")
        return min(length, _PAYLOAD_CHARACTERS) if is_payload else length

    if isinstance(value, Mapping):
        return sum(len(key) + _count_characters(inner, key) for key, inner in value.items())

    if isinstance(value, (list, tuple)):
        return sum(_count_characters(inner) for inner in value)

    return 0
