"""Write docs/options.md: which API has which option, read from the fields of `GenerationOptions`.

`python scripts/options_table.py` writes the page; a test compares it with what this would write.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import get_args

from synth_ai.lm.vendors.apis import CHAT, HARMONY, RESPONSES
from synth_ai.options import GenerationOptions, Option

PAGE = Path(__file__).resolve().parent.parent / "docs" / "options.md"

APIS = (CHAT, RESPONSES, HARMONY)

HEAD = """\
# Options

Options of an LM are defaults of its calls; a call's own replace them, and None takes one back to
the backend's default. A name that the API does not have is an error with the nearest one that it
has. What has no place here goes to a server through `extra_body=`, `extra_headers=` and
`extra_query=`.

This page is written by `python scripts/options_table.py`.

| Option | Chat | Responses | Harmony | Type | Takes |
|---|:-:|:-:|:-:|---|---|
"""


def write_page() -> str:
    """Write the whole page."""
    rows = []
    for name, annotation in GenerationOptions.__annotations__.items():
        rows.append(write_row(name, annotation))
    return HEAD + "\n".join(rows) + "\n"


def write_row(name: str, annotation: object) -> str:
    """Write one option's row; a dot stands under each API that has it."""
    cells = [f"`{name}`"]
    notes: list[str] = []
    for api in APIS:
        option = api.options.get(name)
        cells.append("●" if option else "")
        if option is not None:
            # An API that takes other values than the one before adds a note of its own.
            notes += [note for note in describe(option) if note not in notes]

    cells.append(f"`{write_type(annotation)}`")
    cells.append("; ".join(notes))
    return "| " + " | ".join(cells) + " |"


def write_type(annotation: object) -> str:
    """Write an option's type for a cell, without the None that every option takes.

    ::

        Annotated[float | None, ...]                ->  float
        Annotated[str | Sequence[str] | None, ...]  ->  str or Sequence[str]
    """
    union = get_args(annotation)[0]
    names = []
    for member in get_args(union):
        if member is types.NoneType:
            continue
        name = member.__name__ if isinstance(member, type) else str(member)
        names.append(name.replace("collections.abc.", "").replace("typing.", ""))
    return " or ".join(names)


def describe(option: Option) -> list[str]:
    """Describe what an option takes, and how it meets other options."""
    notes = []
    if option.check is not None:
        notes.append(str(option.check))
    if option.same_as is not None:
        notes.append(f"another name of `{option.same_as}`")
    if option.holds is not None:
        notes.append(f"its `{option.holds.key}` is `{option.holds.name}`")
    if option.is_merged:
        notes.append("merged by key")
    return notes


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
