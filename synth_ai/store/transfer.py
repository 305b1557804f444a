"""Turns as a file to hand on: JSON lines, a header and then one turn a line, oldest first.

The header names the format and its version, and how many turns follow, so that a file that was cut
off is noticed::

    {"format":"synth-ai turns","version":4,"turns":2}
    {"id":"resp_1","parent_id":null,"api_type":"chat","model":"gpt-5","input":[...],...}
    {"id":"resp_2","parent_id":"resp_1",...}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator

from synth_ai.errors import StoreError, StoreImportError, StoreUnavailableError
from synth_ai.store.base import ResponseStore
from synth_ai.store.facts import (
    field_names,
    find_mistake,
    from_dict,
    rename_facts,
    to_dict,
)
from synth_ai.store.files import replace_file, resolve_path
from synth_ai.store.json import to_json
from synth_ai.store.workers import run_on_thread
from synth_ai.turn import Turn

FORMAT = "synth-ai turns"

# Version 1 does not say why turns are incomplete, failed, replayed or redacted.
# Versions 1 and 2 call `server` and `stored_on_server` by older names.
# Versions 1 to 3 have no tags, no times but one, and nothing of the prompt and its log
# probabilities.
VERSION = 4


async def export_turns(
    store: ResponseStore, path: str | os.PathLike[str], ids: Iterable[str] | None = None
) -> int:
    """Write turns to a file that only its owner can read; it appears whole or not at all.

    Args:
        store: where the turns are.
        path: the file. An earlier export is replaced, no other file is.
        ids: the turns to write, each with all that it continues from; every turn of the store if
            None.

    Returns:
        How many turns were written.

    Raises:
        StoreError: an id is not in the store, or not all that it continues from.
        StoreUnavailableError: the file cannot be written, or exists and is not an export.
    """
    turns = await store.list() if ids is None else await _read_chains(store, ids)
    await run_on_thread(_write_file, path, turns)
    return len(turns)


async def import_turns(store: ResponseStore, path: str | os.PathLike[str]) -> int:
    """Add the turns of an exported file to a store: all of them, or none.

    Turns that the store has already are left out, so that importing twice does no harm.

    Returns:
        How many turns were new.

    Raises:
        StoreImportError: the file is not an export, is cut off or damaged, was written by a newer
            version, or its turns go round in a circle.
        StoreConflictError: the store has another turn under an id of the file.
        StoreUnavailableError: the file cannot be read.
    """
    turns = await run_on_thread(_read_file, path)
    return await store.add(turns)


def to_lines(turns: Iterable[Turn]) -> Iterator[str]:
    """Write the lines of a file of these turns, each with its line end."""
    turns = list(turns)
    header = {"format": FORMAT, "version": VERSION, "turns": len(turns)}
    yield to_json(header) + "\n"
    for turn in turns:
        yield to_json(to_dict(turn)) + "\n"


def from_lines(lines: Iterable[str]) -> list[Turn]:
    """Read the turns of a file's lines.

    Raises:
        StoreImportError: the lines are not an export, or not all of one.
    """
    remaining = iter(lines)
    version, expected = _read_header(next(remaining, ""))

    turns: dict[str, Turn] = {}
    count = 0
    # Lines are counted from 1 for people, and the first one is the header.
    for number, line in enumerate(remaining, start=2):
        turn = _read_turn(line, number, version)
        count += 1
        if turns.setdefault(turn.id, turn) != turn:
            raise StoreImportError(
                f"Line {number} has another turn under the id {turn.id!r}; nothing was imported."
            )

    if count != expected:
        raise StoreImportError(
            f"The file was cut off: its header says {expected} turns, and it has {count}. "
            "Nothing was imported."
        )
    return list(turns.values())


async def _read_chains(store: ResponseStore, ids: Iterable[str]) -> list[Turn]:
    """Read turns with all that they continue from, each once."""
    turns: dict[str, Turn] = {}
    for id in ids:
        chain = await store.chain(id)
        if chain is None:
            raise StoreError(
                f"{id!r} cannot be exported with all that it continues from. "
                f"{store.explain_missing(id)}"
            )
        for turn in chain:
            turns[turn.id] = turn

    return list(turns.values())


def _write_file(where: str | os.PathLike[str], turns: list[Turn]) -> None:
    replace_file(where, to_lines(turns), is_earlier=_is_export, what="export of turns")


def _is_export(start: bytes) -> bool:
    return start.startswith(f'{{"format":"{FORMAT}"'.encode())


def _read_file(where: str | os.PathLike[str]) -> list[Turn]:
    path = resolve_path(where)
    try:
        # JSON may hold other line ends than "\n" within a string, such as U+2028.
        with path.open(encoding="utf-8", newline="\n") as file:
            return from_lines(file)
    except OSError as error:
        raise StoreUnavailableError(
            f"{str(path)!r} cannot be read: {error.strerror or error}."
        ) from error
    except UnicodeDecodeError as error:
        raise StoreImportError(
            f"{str(path)!r} is not an export of turns: it is not text. Nothing was imported."
        ) from error
    except StoreImportError as error:
        raise StoreImportError(f"{str(path)!r}: {error}") from error


def _read_header(line: str) -> tuple[int, int]:
    """Read the version of the format, and how many turns follow."""
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _header_error() from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _header_error()

    # The version first: what else a newer header has is not known here.
    version = header.get("version")
    if not isinstance(version, int):
        raise _header_error()
    if version > VERSION:
        raise StoreImportError(
            f"The file was written by a newer synth_ai (version {version} of the format; this one "
            f"reads up to {VERSION}): upgrade synth-ai. Nothing was imported."
        )

    count = header.get("turns")
    if not isinstance(count, int):
        raise _header_error()
    return version, count


def _header_error() -> StoreImportError:
    return StoreImportError(
        "This is not an export of turns: its first line is not the header of one. "
        "Nothing was imported."
    )


def _read_turn(line: str, number: int, version: int) -> Turn:
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StoreImportError(
            f"Line {number} is cut off or damaged: {error}. Nothing was imported."
        ) from error

    if not isinstance(facts, dict):
        raise StoreImportError(f"Line {number} is not a turn: not an object. Nothing was imported.")

    unknown = sorted(facts.keys() - field_names(version))
    if unknown:
        raise StoreImportError(
            f"Line {number} is not a turn: it has {', '.join(unknown)}, which no turn has. "
            "Nothing was imported."
        )

    if version < 3:
        facts = rename_facts(facts)
    mistake = find_mistake(facts)
    if mistake is not None:
        raise StoreImportError(f"Line {number} is not a turn: {mistake}. Nothing was imported.")

    return from_dict(facts)
