"""What items must look like, as far as whoever reads them relies on it.

Items come from imported files and from callers, who may have them from anybody. Fields that nobody
reads here may hold anything, and an item of a type that is not known here passes: the server that
made it may take it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

Check: TypeAlias = Callable[[object], bool]
Shape: TypeAlias = Mapping[str, Check]

# Deeper than any schema or argument, and shallow enough for every reader that calls itself.
MAX_DEPTH = 100


def find_item_mistake(item: object) -> str | None:
    """Find what keeps this from being an item.

    Returns:
        What is wrong, for errors, as in `the name of a function_call is 5`; None if all is well.
    """
    if not isinstance(item, Mapping):
        return f"an item is {_shorten(item)}"

    # People may leave out the type of a message.
    item_type = item.get("type", "message")
    if not isinstance(item_type, str) or not item_type:
        return f"the type of an item is {_shorten(item_type)}"

    shape = _SHAPES.get(item_type, _ANY_SHAPE)
    for name, check in shape.items():
        if not check(item.get(name)):
            return f"the {name} of a {item_type} is {_shorten(item.get(name))}"

    return None


def is_item(item: object) -> bool:
    """Whether this is an item."""
    return find_item_mistake(item) is None


def is_shallow(value: object, depth: int = MAX_DEPTH) -> bool:
    """Whether dicts and lists are nested in each other no deeper than `depth`."""
    level = [value]
    for _ in range(depth):
        inner: list[object] = []
        for each in level:
            if isinstance(each, Mapping):
                inner += each.values()
            elif isinstance(each, (list, tuple)):
                inner += each
        if not inner:
            return True
        level = inner

    return False


def is_tool(tool: object) -> bool:
    """Whether this is a tool that can be offered again."""
    if not isinstance(tool, dict) or not all(isinstance(name, str) for name in tool):
        return False

    tool_type = tool.get("type", "function")
    if not isinstance(tool_type, str):
        return False
    if not _is_text_or_none(tool.get("name")) or not _is_text_or_none(tool.get("description")):
        return False

    if tool_type != "function":
        nested = tool.get("tools")
        return not isinstance(nested, list) or all(map(_is_mapping, nested))

    return _is_name(tool.get("name")) and _is_mapping_or_none(tool.get("parameters"))


def _shorten(value: object) -> str:
    if value is None:
        return "missing"
    try:
        text = repr(value)
    except Exception:  # what callers write may have a repr of its own, or be nested too deeply
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."


# --- what the fields of an item must be -------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_mapping_or_none(value: object) -> bool:
    return value is None or isinstance(value, Mapping)


def _is_list_or_none(value: object) -> bool:
    return value is None or isinstance(value, (list, tuple))


def _is_text_or_parts(value: object) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, (list, tuple)) and all(map(_is_part, value))


def _is_part(part: object) -> bool:
    if not isinstance(part, Mapping):
        return False

    part_type = part.get("type")
    if not isinstance(part_type, str):
        return False
    # Whoever reads the text of a message reads that of all its parts.
    if not _is_text_or_none(part.get("text")):
        return False
    shape = _PART_SHAPES.get(part_type, {})
    return all(check(part.get(name)) for name, check in shape.items())


def _is_reasoning_parts(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, (list, tuple)) and all(map(_is_reasoning_part, value))


def _is_reasoning_part(part: object) -> bool:
    return isinstance(part, Mapping) and _is_text_or_none(part.get("text"))


def _is_audio(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, Mapping):
        return False
    expires_at = value.get("expires_at")
    is_time = expires_at is None or type(expires_at) in (int, float)
    return is_time and _is_text_or_none(value.get("id"))


_PART_SHAPES: Mapping[str, Shape] = {
    "text": {"text": _is_text},
    "input_text": {"text": _is_text},
    "output_text": {"text": _is_text, "annotations": _is_list_or_none},
    "refusal": {"refusal": _is_text},
    "input_image": {
        "image_url": _is_text_or_none,
        "file_id": _is_text_or_none,
        "detail": _is_text_or_none,
    },
    "input_file": {
        "file_data": _is_text_or_none,
        "file_url": _is_text_or_none,
        "file_id": _is_text_or_none,
        "filename": _is_text_or_none,
    },
    "input_audio": {"input_audio": _is_mapping},
}

_ANY_SHAPE: Shape = {"id": _is_text_or_none, "status": _is_text_or_none}

_SHAPES: Mapping[str, Shape] = {
    "message": {
        **_ANY_SHAPE,
        "role": _is_name,
        "content": _is_text_or_parts,
        "name": _is_text_or_none,
        "phase": _is_text_or_none,
        "audio": _is_audio,
    },
    "reasoning": {
        **_ANY_SHAPE,
        "summary": _is_reasoning_parts,
        "content": _is_reasoning_parts,
        "encrypted_content": _is_text_or_none,
    },
    "function_call": {
        **_ANY_SHAPE,
        "call_id": _is_text,
        "name": _is_text,
        "arguments": _is_text,
        "namespace": _is_text_or_none,
    },
    "custom_tool_call": {**_ANY_SHAPE, "call_id": _is_text, "name": _is_text, "input": _is_text},
    "function_call_output": {**_ANY_SHAPE, "call_id": _is_text, "output": _is_text_or_parts},
    "custom_tool_call_output": {**_ANY_SHAPE, "call_id": _is_text, "output": _is_text_or_parts},
}
