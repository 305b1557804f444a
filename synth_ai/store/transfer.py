"""Turns as a file to hand on: JSON lines, a header and then one turn a line, oldest first.

The header says how many turns follow, so a file that was cut off is noticed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from synth_ai.errors import StoreError, StoreImportError, StoreUnavailableError
from synth_ai.store.base import ResponseStore
from synth_ai.store.files import replace_file
from synth_ai.store.json import is_utf8, to_json
from synth_ai.turn import Turn

FORMAT = "synth-ai turns"
VERSION = 2  # 1 lacks what turns say of why they are incomplete, failed, replayed or redacted

_NAMES = tuple(field.name for field in fields(Turn))


async def export_turns(
    store: ResponseStore, path: str | os.PathLike[str], ids: Iterable[str] | None = None
) -> int:
    """Write turns to a file that only its owner can read; it appears whole or not at all.

    Args:
        store: where the turns are.
        path: the file; an earlier export is replaced, no other file is.
        ids: the turns to write, each with all that it continues from; every turn of the store if None.

    Returns:
        How many turns were written.

    Raises:
        StoreError: an id is not in the store, or not all that it continues from.
        StoreUnavailableError: the file cannot be written, or is there and is no export.
    """
    turns = await store.list() if ids is None else await _chains(store, ids)
    await asyncio.to_thread(_write, path, turns)
    return len(turns)


async def import_turns(store: ResponseStore, path: str | os.PathLike[str]) -> int:
    """Add the turns of an exported file to a store: all of them, or none.

    Turns that the store has already are left out, so that importing twice does no harm.

    Returns:
        How many turns were new.

    Raises:
        StoreImportError: the file is no export, is cut off or damaged, or its turns go round in a circle.
        StoreConflictError: the store has another turn under an id of the file.
        StoreUnavailableError: the file cannot be read.
    """
    return await store.add(await asyncio.to_thread(_read, path))


def to_lines(turns: Iterable[Turn]) -> Iterator[str]:
    """The lines of a file of these turns, each with its line end."""
    turns = list(turns)
    yield to_json({"format": FORMAT, "version": VERSION, "turns": len(turns)}) + "\n"
    for turn in turns:
        yield to_json(to_dict(turn)) + "\n"


def from_lines(lines: Iterable[str]) -> list[Turn]:
    """The turns of a file's lines.

    Raises:
        StoreImportError: the lines are no export, or not all of one.
    """
    rest = iter(lines)
    count = _read_header(next(rest, ""))
    turns: dict[str, Turn] = {}
    number = 0
    for number, line in enumerate(rest, 1):
        turn = _read_turn(line, number)
        if turns.setdefault(turn.id, turn) != turn:
            raise StoreImportError(
                f"Line {number + 1} has another turn under the id {turn.id!r}; nothing was imported."
            )
    if number != count:
        raise StoreImportError(
            f"The file was cut off: its header says {count} turns, and it has {number}. Nothing was imported."
        )
    return list(turns.values())


def to_dict(turn: Turn) -> dict[str, Any]:
    """A turn as JSON can hold it."""
    facts = {name: getattr(turn, name) for name in _NAMES}
    facts["output_token_ids"] = (
        None if turn.output_token_ids is None else list(turn.output_token_ids)
    )
    return facts


async def _chains(store: ResponseStore, ids: Iterable[str]) -> list[Turn]:
    turns: dict[str, Turn] = {}
    for id in ids:
        chain = await store.chain(id)
        if chain is None:
            raise StoreError(
                f"{id!r} cannot be exported with all that it continues from. {store.explain_missing(id)}"
            )
        turns.update((turn.id, turn) for turn in chain)
    return list(turns.values())


def _write(where: str | os.PathLike[str], turns: list[Turn]) -> None:
    replace_file(where, to_lines(turns), is_earlier=_is_export, what="export of turns")


def _is_export(start: bytes) -> bool:
    return start.startswith(f'{{"format":"{FORMAT}"'.encode())


def _read(where: str | os.PathLike[str]) -> list[Turn]:
    path = Path(where).expanduser()
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            return from_lines(file)
    except OSError as error:
        raise StoreUnavailableError(
            f"{str(path)!r} cannot be read: {error.strerror or error}."
        ) from error
    except UnicodeDecodeError as error:
        raise StoreImportError(
            f"{str(path)!r} is no export of turns: it is not text. Nothing was imported."
        ) from error
    except StoreImportError as error:
        raise StoreImportError(f"{str(path)!r}: {error}") from error


def _read_header(line: str) -> int:
    try:
        header = json.loads(line)
        if header["format"] == FORMAT and header["version"] > VERSION:
            raise StoreImportError(
                f"The file is of version {header['version']} of the format, and this synth_ai reads up to {VERSION}: "
                "upgrade synth-ai. Nothing was imported."
            )
        if header["format"] == FORMAT and isinstance(header["turns"], int):
            return header["turns"]
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise StoreImportError(
        "This is no export of turns: its first line is not the header of one. Nothing was imported."
    )


def _read_turn(line: str, number: int) -> Turn:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StoreImportError(
            f"Line {number + 1} is cut off or damaged: {error}. Nothing was imported."
        ) from error
    wrong = "not an object" if not isinstance(facts, dict) else _what_is_wrong(facts)
    if wrong:
        raise StoreImportError(f"Line {number + 1} is no turn: {wrong}. Nothing was imported.")
    for name in ("input", "output", "tools", "warnings"):
        if facts.get(name) is not None:
            facts[name] = tuple(facts[name])
    return Turn(**facts)


def _what_is_wrong(facts: Mapping[str, Any]) -> str:
    """What keeps these facts from being a turn; empty if nothing does."""
    if unknown := facts.keys() - set(_NAMES):
        return f"it has {', '.join(sorted(unknown))}, which no turn has"
    if missing := [name for name in _REQUIRED if name not in facts]:
        return f"it lacks {', '.join(missing)}"
    for name, value in facts.items():
        if name in _SHAPES and not _SHAPES[name](value):
            return f"its {name} is {str(value)[:60]!r}"
    return ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_items(value: Any) -> bool:
    return _is_objects(value) and all(
        isinstance(item.get("content"), (str, list, type(None))) for item in value
    )


def _is_one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: value in words


def _is_token_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(id) is int and 0 <= id < 2**32 for id in value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(count) is int and count >= 0 for count in value.values()
    )


def _is_settings(value: Any) -> bool:
    """Whether these are options by name; Harmony reads `tool_choice` again when it renders a turn by its ids."""
    if not isinstance(value, dict):
        return False
    choice = value.get("tool_choice")
    if not isinstance(choice, dict):
        return choice is None or _is_text(choice)
    function = choice.get("function", {"name": ""})
    return isinstance(function, dict) and _is_text(function.get("name"))


def _or_none(shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or shape(value)


_REQUIRED = ("id", "parent_id", "api_type", "model", "input", "output")
_SHAPES: dict[str, Callable[[Any], bool]] = {
    "id": lambda value: _is_text(value) and value != "" and is_utf8(value),
    "parent_id": _or_none(_is_text),
    "api_type": _is_one_of("chat", "responses", "harmony"),
    "model": _is_text,
    "input": _is_items,
    "output": _is_items,
    "instructions": _or_none(_is_text),
    "tools": _or_none(_is_objects),
    "status": _is_one_of("completed", "incomplete", "failed", "in_progress", "queued", "cancelled"),
    "server": _or_none(_is_text),
    "stored_on_server": _is_flag,
    "redacted": _is_flag,
    "incomplete_reason": _or_none(_is_text),
    "error": _or_none(_is_text),
    "request_id": _or_none(_is_text),
    "replay_reason": _or_none(_is_text),
    "warnings": _is_texts,
    "usage": _or_none(_is_counts),
    "settings": _is_settings,
    "output_token_ids": _or_none(_is_token_ids),
    "date": _or_none(_is_text),
    "created_at": lambda value: type(value) in (int, float),
}
