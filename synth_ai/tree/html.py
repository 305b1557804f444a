"""A tree in a browser: one page that needs nothing else, and a small picture for notebooks.

No text of a conversation becomes markup: the page carries it as JSON, which its script puts into text nodes, and a
content security policy names the hash of that script, so that no other can run. The picture has no script at all.
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
from typing import TYPE_CHECKING, Any

from synth_ai.store.files import replace_file
from synth_ai.tree.excerpts import Passage, backend_of, one_line, passages
from synth_ai.tree.text import (
    notes_of,
    printable,
    short_ids,
    shorten,
    summary,
    to_text,
    token_counts,
)
from synth_ai.turn import Turn

if TYPE_CHECKING:
    from synth_ai.tree.tree import Tree

_LINE = 160
_MOST_IN_NOTEBOOK = 300


def to_page(tree: Tree, title: str) -> str:
    """The tree as one HTML file: to fold, to search, to read, and to lay two branches side by side."""
    folder = files("synth_ai.tree") / "page"
    frame, style, script = (
        (folder / name).read_text("utf-8") for name in ("page.html", "page.css", "page.js")
    )
    parts = {
        "title": escape(printable(title)),
        "summary": escape(summary(tree)),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "data": _embed(_data(tree)),
        "text": escape(to_text(tree, 100)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], frame)


def write_page(tree: Tree, path: str | os.PathLike[str], title: str) -> None:
    """Write the page to a file that only its owner can read; it appears whole or not at all.

    Args:
        tree: what to draw.
        path: the file; an earlier page is replaced, no other file is.
        title: the page's heading.

    Raises:
        StoreUnavailableError: the file cannot be written, or another one is in its place.
    """
    replace_file(path, [to_page(tree, title)], is_earlier=_is_page, what="page of conversations")


def _is_page(start: bytes) -> bool:
    return b'content="synth-ai tree"' in start


def to_notebook(tree: Tree) -> str:
    """The tree for a notebook's output: a line a turn, which opens to its whole text."""
    ids = short_ids(tree)
    rows = [
        _notebook_row(tree, turn, rails, ids[turn.id])
        for turn, rails, _ in tree.rows(_MOST_IN_NOTEBOOK)
    ]
    more = len(tree) - len(rows)
    if more > 0:
        rows.append(f"<p>and {more:,} more turns: see <code>to_html()</code></p>")
    start = (
        f'<div class="synth-ai-tree"><style>{_NOTEBOOK_STYLE}</style><p>{escape(summary(tree))}</p>'
    )
    return f"{start}{''.join(rows)}</div>"


def _data(tree: Tree) -> dict[str, Any]:
    ids = short_ids(tree)
    order = {turn.id: number for number, turn in enumerate(tree.walk())}
    instructions: dict[str, int] = {}
    turns = []
    for turn, rails, _ in tree.rows():
        asked, answered = passages(turn.input), passages(turn.output)
        said = turn.instructions
        turns.append(
            {
                "id": turn.id,
                "short": ids[turn.id],
                "parent": order.get(turn.parent_id or ""),
                "rails": rails,
                "head": turn.id == tree.head,
                "asked": [_piece(passage) for passage in asked],
                "answered": [_piece(passage) for passage in answered],
                "asked_line": shorten(printable(one_line(asked)), _LINE),
                "answered_line": shorten(printable(one_line(answered)), _LINE),
                "instructions": None
                if said is None
                else instructions.setdefault(said, len(instructions)),
                "notes": notes_of(tree, turn),
                "backend": backend_of(turn) if tree.changes_backend(turn) else "",
                "model": backend_of(turn),
                "tokens": _tokens(turn),
                "time": _time(turn.created_at),
            }
        )
    return {"turns": turns, "instructions": list(instructions)}


def _piece(passage: Passage) -> dict[str, Any]:
    return {
        "kind": passage.kind,
        "text": passage.text,
        "name": passage.name,
        "images": passage.images,
    }


def _tokens(turn: Turn) -> str:
    counts = token_counts(turn)
    return f"{counts.replace('+', ' + ')} tokens" if counts else ""


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return ""


def _embed(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


# A notebook may be dark or light and does not say: every colour is the text's own, made fainter.
_NOTEBOOK_STYLE = """
.synth-ai-tree{font:13px/1.55 ui-monospace,Menlo,Consolas,monospace;max-width:100%;overflow-x:auto}
.synth-ai-tree p{margin:0 0 4px;opacity:.7}
.synth-ai-tree summary{list-style:none;white-space:pre;cursor:pointer}
.synth-ai-tree summary::-webkit-details-marker{display:none}
.synth-ai-tree summary:hover{background:rgba(127,127,127,.14)}
.synth-ai-tree i{font-style:normal;opacity:.55}
.synth-ai-tree .text{margin:2px 0 8px 24px;padding-left:10px;border-left:2px solid rgba(127,127,127,.4)}
.synth-ai-tree .text div{margin-bottom:5px;white-space:pre-wrap;overflow-wrap:anywhere}
"""


def _notebook_row(tree: Tree, turn: Turn, rails: str, short: str) -> str:
    asked, answered = passages(turn.input), passages(turn.output)
    is_head = turn.id == tree.head
    facts = [
        *notes_of(tree, turn),
        *([backend_of(turn)] if tree.changes_backend(turn) else []),
        short,
        token_counts(turn),
    ]
    line = (
        f"<i>{rails}</i>{'◉' if is_head else '●'} <b>{_line(asked, 44)}</b> <i>→</i> {_line(answered, 56)}"
        f"<i>  {'head  ' if is_head else ''}{escape('  '.join(printable(fact) for fact in facts if fact))}</i>"
    )
    text = "".join(
        f"<div><i>{escape(f'{passage.kind} {printable(passage.name)}'.strip())}</i> {_visible(passage.text)}</div>"
        for passage in (*asked, *answered)
    )
    return f'<details><summary>{line}</summary><div class="text">{text}</div></details>'


def _line(pieces: list[Passage], width: int) -> str:
    return escape(shorten(printable(one_line(pieces)), width))


def _visible(text: str) -> str:
    """Text for HTML; half a surrogate pair has no encoding, and would fail when the notebook is saved."""
    return escape(text.encode("utf-8", "replace").decode())
