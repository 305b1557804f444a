"""Log probabilities in the shapes of OpenAI's two APIs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from synth_ai.openai_api.json_types import JSONFields, JSONObject

#: What JSON can hold in place of the logarithm of 0; vLLM writes the same.
_LOWEST = -9999.0


def find_logprobs(entries: Sequence[JSONFields], text: str) -> Sequence[JSONFields]:
    """Find the entries of a text among those of a whole answer.

    An engine has entries of all that the model wrote, its reasoning and control tokens included.

    Args:
        entries: one a token, in order.
        text: the text; the last place that has it counts.

    Returns:
        Its entries; all of them if its tokens do not add up to it, as one may be half a character.
    """
    starts: dict[int, int] = {}
    length = 0
    for index, entry in enumerate(entries):
        starts.setdefault(length, index)
        length += len(entry["token"])
    starts.setdefault(length, len(entries))

    written = "".join(entry["token"] for entry in entries)
    start = written.rfind(text)
    first = starts.get(start)
    behind = starts.get(start + len(text))
    if start < 0 or first is None or behind is None:
        return entries
    return entries[first:behind]


def make_part_logprobs(entries: Sequence[JSONFields]) -> list[JSONObject]:
    """Make the entries that a text part of the Responses API has."""
    return [_make_entry(entry) for entry in entries]


def make_chat_logprobs(entries: Sequence[JSONFields]) -> JSONObject:
    """Make the `logprobs` that a choice of Chat Completions has."""
    return {"content": [_make_entry(entry) for entry in entries], "refusal": None}


def _make_entry(entry: JSONFields) -> JSONObject:
    made = _make_token(entry)
    made["top_logprobs"] = [_make_token(top) for top in entry.get("top_logprobs") or ()]
    return made


def _make_token(entry: JSONFields) -> JSONObject:
    token = entry["token"]
    token_bytes = entry.get("bytes")
    if token_bytes is None:
        token_bytes = list(token.encode(errors="replace"))
    return {
        "token": token,
        "bytes": token_bytes,
        "logprob": max(entry["logprob"], _LOWEST),
    }
