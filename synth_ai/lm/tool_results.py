"""What tools give back, made into text or into parts of an item.

A list of dicts with a `type` may be parts that somebody wrote, or records that a tool read
elsewhere. Of what a tool run here returned, only parts that this library made are parts: JSON of a
stranger must not become a file or a picture of the request.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias, TypeGuard, cast

from synth_ai.content import ContentPart, InputText, Part

Check: TypeAlias = Callable[[object], bool]


class UnwritableResultError(Exception):
    """What a tool gave back has no form that can be sent; the message says why."""


def read_result(value: object) -> str | list[Part]:
    """Read what a tool returned that was run here.

    Returns:
        Text as it is; parts that `image_part` made, with the texts between them; anything else as
        JSON.

    Raises:
        UnwritableResultError: JSON cannot hold it.
    """
    if isinstance(value, ContentPart):
        return [_as_part(value)]
    if _is_list_of_own_parts(value):
        return [_as_part(part) for part in value]
    return write_text(value)


def read_output(value: object) -> str | list[Part]:
    """Read an output that a caller wrote, with parts in the shape of either API.

    Raises:
        UnwritableResultError: JSON cannot hold it.
    """
    if _is_list_of_written_parts(value):
        return [_read_written_part(part) for part in value]
    return read_result(value)


def write_text(value: object) -> str:
    """Write a value as text: a string as it is, anything else as JSON.

    Raises:
        UnwritableResultError: JSON cannot hold it.
    """
    if isinstance(value, str):
        return str(value)

    try:
        if hasattr(value, "model_dump_json"):
            return str(value.model_dump_json())
        return _write_json(value)
    except UnwritableResultError:
        raise
    except RecursionError as error:
        raise _unwritable(value, "it is nested too deeply") from error
    except Exception as error:  # a value's own methods may raise anything
        reason = f"writing it as JSON failed with {type(error).__name__}"
        if "Circular reference" in str(error):
            reason = "it contains itself"
        raise _unwritable(value, reason) from error


def _write_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=_write_other)
    except (TypeError, ValueError):
        # Keys that are no strings, or integers of more digits than Python writes at once. It is
        # tried first without this, as copying costs more than writing.
        plain = _as_plain(value, parents=())
        return json.dumps(plain, ensure_ascii=False, default=_write_other)


def _write_other(value: object) -> str:
    """Write what JSON has no form for, such as a date, as its text."""
    is_running = inspect.isasyncgen(value) or inspect.iscoroutine(value)
    if is_running or isinstance(value, Iterator):
        raise _unwritable(value, "return a list of what it gives instead")
    return str(value)


def _as_plain(value: object, parents: tuple[int, ...]) -> object:
    """Copy a value with keys and integers that JSON can hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _as_plain_int(value)
    if not isinstance(value, (dict, list, tuple)):
        return value

    if id(value) in parents:
        raise _unwritable(value, "it contains itself")
    parents = (*parents, id(value))

    if not isinstance(value, dict):
        return [_as_plain(each, parents) for each in value]

    plain = {}
    for key, each in value.items():
        is_key = key is None or isinstance(key, (str, int, float))
        plain[key if is_key else str(key)] = _as_plain(each, parents)
    return plain


def _as_plain_int(value: int) -> int | str:
    try:
        str(value)
    except ValueError:
        # Python refuses to write so many digits (sys.set_int_max_str_digits).
        return hex(value)
    return value


def _unwritable(value: object, reason: str) -> UnwritableResultError:
    return UnwritableResultError(f"a {type(value).__name__} cannot be sent to the model: {reason}")


# --- parts ------------------------------------------------------------------------------------


def _is_list_of_own_parts(value: object) -> TypeGuard[list[ContentPart | str]]:
    if not isinstance(value, (list, tuple)):
        return False

    has_part = any(isinstance(part, ContentPart) for part in value)
    return has_part and all(isinstance(part, (ContentPart, str)) for part in value)


def _as_part(part: ContentPart | str) -> Part:
    if isinstance(part, str):
        return _input_text(part)
    return cast("Part", part)


def _input_text(text: str) -> InputText:
    return {"type": "input_text", "text": text}


def _is_list_of_written_parts(value: object) -> TypeGuard[list[Mapping[str, object]]]:
    if not isinstance(value, list) or not value:
        return False
    return all(map(_is_written_part, value))


def _is_written_part(part: object) -> bool:
    """Whether this is a part in the shape of either API, and nothing more.

    ::

        {"type": "text", "text": "a"}                 -> True
        {"type": "text", "body": "a"}                 -> False: a record of something else
        {"type": "text", "text": "a", "author": "b"}  -> False
    """
    if not isinstance(part, Mapping):
        return False

    part_type = part.get("type")
    if not isinstance(part_type, str) or part_type not in _FIELDS:
        return False

    checks = _FIELDS[part_type]
    others = [name for name in part if name != "type"]
    if not others:
        return False
    return all(name in checks and checks[name](part[name]) for name in others)


def _read_written_part(part: Mapping[str, object]) -> Part:
    part_type = part["type"]
    if part_type == "text":
        return _input_text(cast("str", part["text"]))
    if part_type == "file":
        return cast("Part", {"type": "input_file", **cast("Mapping[str, object]", part["file"])})
    if part_type != "image_url":
        return cast("Part", dict(part))

    image = part["image_url"]
    if isinstance(image, str):
        image = {"url": image}
    fields = cast("Mapping[str, object]", image)
    detail = fields.get("detail", "auto")
    return cast("Part", {"type": "input_image", "image_url": fields["url"], "detail": detail})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_image_url(value: object) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, Mapping) and "url" in value and _has_only_texts(value)


def _has_only_texts(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(text, str) for name, text in value.items())


# The fields that a part of each type may have beside its type.
_FIELDS: Mapping[str, Mapping[str, Check]] = {
    "text": {"text": _is_text},
    "input_text": {"text": _is_text},
    "image_url": {"image_url": _is_image_url},
    "file": {"file": _has_only_texts},
    "input_image": {
        "image_url": _is_text_or_none,
        "file_id": _is_text_or_none,
        "detail": _is_text,
    },
    "input_file": {
        "file_data": _is_text,
        "file_url": _is_text,
        "file_id": _is_text_or_none,
        "filename": _is_text,
    },
}
