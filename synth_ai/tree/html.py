"""A tree in a browser: one page that needs nothing else.

No text of a conversation becomes markup: the page carries it as JSON, which its script puts into
text nodes. A content security policy has the hash of that script, so that no other can run.
"""

from __future__ import annotations

import base64
import json
import os
import re
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import TypedDict

from synth_ai.store.files import replace_file
from synth_ai.tree.excerpts import Excerpt, read_excerpts, to_line
from synth_ai.tree.facts import (
    colours_of,
    labels_of,
    notes_of,
    shorten_ids,
    summarize,
    token_counts,
)
from synth_ai.tree.printable import shorten, to_printable
from synth_ai.tree.text import to_text
from synth_ai.tree.turn_tree import TurnTree, backend_of
from synth_ai.turn import Turn

# The columns of a turn's line in the tree, where the page cuts it to the room that there is.
_LINE_WIDTH = 160

# The columns of the plain drawing, for who runs no scripts.
_TEXT_WIDTH = 100

# A place of page.html that a value goes into: {{title}} -> title
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


class PageExcerpt(TypedDict):
    """A piece of a turn, as page.js reads it."""

    kind: str
    text: str
    name: str
    images: tuple[str, ...]


class PageTurn(TypedDict):
    """A turn, as page.js reads it.

    `parent` is the place of the parent among the turns of the page, `instructions` that of the
    system message in `PageData.instructions`. `backend` is empty unless it changed, `model` never.
    `colour` is empty unless the turn has one.
    """

    id: str
    short: str
    parent: int | None
    rails: str
    head: bool
    asked: list[PageExcerpt]
    answered: list[PageExcerpt]
    asked_line: str
    answered_line: str
    instructions: int | None
    notes: list[str]
    labels: list[str]
    colour: str
    backend: str
    model: str
    tokens: str
    time: str


class PageData(TypedDict):
    """All that page.js draws; each system message is in it once."""

    turns: list[PageTurn]
    instructions: list[str]


def to_page(tree: TurnTree, title: str) -> str:
    """Make one HTML file: to fold, to search, to read, and to lay two branches side by side."""
    directory = files("synth_ai.tree") / "page"
    frame = (directory / "page.html").read_text("utf-8")
    style = (directory / "page.css").read_text("utf-8")
    script = (directory / "page.js").read_text("utf-8")

    values = {
        "title": escape(to_printable(title)),
        "summary": escape(summarize(tree)),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "data": _embed(_make_data(tree)),
        "text": escape(to_text(tree, _TEXT_WIDTH)),
    }
    # In one pass, so that a model's {{data}} stays as it is.
    return _PLACEHOLDER.sub(lambda match: values[match[1]], frame)


def write_page(tree: TurnTree, path: str | os.PathLike[str], title: str) -> None:
    """Write the page to a file that only its owner can read; it appears whole or not at all.

    Args:
        tree: what to draw.
        path: the file; an earlier page is replaced, no other file is.
        title: the page's heading.

    Raises:
        StoreUnavailableError: the file cannot be written, or another one is in its place.
    """
    page = to_page(tree, title)
    replace_file(path, [page], is_earlier=_is_page, what="page of conversations")


def _is_page(start: bytes) -> bool:
    """Whether a file that starts so is a page, by the generator that page.html names."""
    return b'content="synth-ai tree"' in start


def _make_data(tree: TurnTree) -> PageData:
    short_ids = shorten_ids(tree)
    colours = colours_of(tree)
    turns: list[PageTurn] = []
    # The places of turns and of system messages in the page's lists.
    turn_places: dict[str | None, int] = {}
    instruction_places: dict[str, int] = {}

    for row in tree.rows():
        turn = row.turn
        question = read_excerpts(turn.input)
        answer = read_excerpts(turn.output)

        instructions = None
        if turn.instructions is not None:
            next_place = len(instruction_places)
            instructions = instruction_places.setdefault(turn.instructions, next_place)

        data: PageTurn = {
            "id": turn.id,
            "short": short_ids[turn.id],
            # Only a turn before this one: links that lead in a circle would never let go the page.
            "parent": turn_places.get(turn.parent_id),
            "rails": row.rails,
            "head": turn.id == tree.head,
            "asked": [_excerpt_data(excerpt) for excerpt in question],
            "answered": [_excerpt_data(excerpt) for excerpt in answer],
            "asked_line": shorten(to_printable(to_line(question)), _LINE_WIDTH),
            "answered_line": shorten(to_printable(to_line(answer)), _LINE_WIDTH),
            "instructions": instructions,
            "notes": notes_of(tree, turn),
            "labels": labels_of(turn),
            "colour": colours.get(turn.id, ""),
            "backend": backend_of(turn) if tree.changes_backend(turn) else "",
            "model": backend_of(turn),
            "tokens": _format_tokens(turn),
            "time": _format_time(turn.created_at),
        }
        turn_places[turn.id] = len(turns)
        turns.append(data)

    return {"turns": turns, "instructions": list(instruction_places)}


def _excerpt_data(excerpt: Excerpt) -> PageExcerpt:
    return {
        "kind": excerpt.kind,
        "text": excerpt.text,
        "name": excerpt.name,
        "images": excerpt.images,
    }


def _format_tokens(turn: Turn) -> str:
    counts = token_counts(turn)
    if not counts:
        return ""
    return f"{counts.replace('+', ' + ')} tokens"


def _format_time(seconds: float) -> str:
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return ""  # an imported turn may have any number here
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")


def _embed(data: PageData) -> str:
    """Write JSON that cannot end the script element in which it stands."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    """Hash a script or a style as a content security policy names it."""
    digest = sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
