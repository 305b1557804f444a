"""A tree as a Mermaid flowchart, for Markdown files and pages that draw one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from synth_ai.tree.excerpts import backend_of, one_line, passages
from synth_ai.tree.text import notes_of, printable, short_ids, shorten
from synth_ai.turn import Turn

if TYPE_CHECKING:
    from synth_ai.tree.tree import Tree

_LINE = 48


def to_mermaid(tree: Tree) -> str:
    """The text of the flowchart; it is drawn from top to bottom, with the head in bold."""
    ids = short_ids(tree)
    names = {turn.id: f"t{number}" for number, turn in enumerate(tree.walk())}
    lines = ["flowchart TD"]
    for turn in tree.walk():
        lines.append(f'    {names[turn.id]}["{_label(tree, turn, ids[turn.id])}"]')
        lines += [
            f"    {names[turn.id]} --> {names[child]}" for child in tree.children.get(turn.id, ())
        ]
    if tree.head in names:
        lines += [
            "    classDef head stroke-width:3px,font-weight:bold",
            f"    class {names[tree.head]} head",
        ]
    return "\n".join(lines) + "\n"


def _label(tree: Tree, turn: Turn, short: str) -> str:
    facts = [
        short,
        *notes_of(tree, turn),
        *([backend_of(turn)] if tree.changes_backend(turn) else []),
    ]
    asked, answered = one_line(passages(turn.input)), one_line(passages(turn.output))
    parts = (asked, f"→ {answered}" if answered else "", " · ".join(facts))
    return "<br/>".join(_escape(shorten(printable(part), _LINE)) for part in parts if part)


def _escape(text: str) -> str:
    """Mermaid reads quotes, Markdown and HTML in labels; what its entities (`#` and a number) name, it only shows."""
    return re.sub(r"[^\w\s.,:;!?()→…·+%/=-]", lambda found: f"#{ord(found[0])};", text)
