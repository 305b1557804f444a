"""A tree as a Mermaid flowchart, for Markdown files and pages that draw one."""

from __future__ import annotations

import re

from synth_ai.tree.excerpts import read_excerpts, to_line
from synth_ai.tree.facts import (
    colours_of,
    headings_of,
    labels_of,
    notes_with_backend,
    shorten_ids,
)
from synth_ai.tree.printable import shorten, to_printable
from synth_ai.tree.turn_tree import TurnTree
from synth_ai.turn import Turn

# The columns of a line in a label.
_WIDTH = 48

# What Mermaid shows as it is. Quotes, brackets, Markdown and HTML are not among it.
_NOT_PLAIN = re.compile(r"[^\w\s.,:;!?()→…·+%/=-]")


def to_mermaid(tree: TurnTree) -> str:
    """Draw a flowchart from top to bottom, with the head in bold."""
    short_ids = shorten_ids(tree)
    # Numbered, as an id may have characters that no name of a node may have.
    nodes = {turn.id: f"t{number}" for number, turn in enumerate(tree.walk())}

    lines = ["flowchart TD"]
    headings = headings_of(tree)
    is_open = False
    for turn in tree.walk():
        heading = headings.get(turn.id)
        if heading is not None:
            if is_open:
                lines.append("    end")
            lines.append(f'    subgraph c{nodes[turn.id]}["{_escape(heading)}"]')
            is_open = True

        node = nodes[turn.id]
        lines.append(f'    {node}["{_make_label(tree, turn, short_ids[turn.id])}"]')
        for child in tree.children.get(turn.id, ()):
            lines.append(f"    {node} --> {nodes[child]}")

    if is_open:
        lines.append("    end")
    for id, colour in colours_of(tree).items():
        lines.append(f"    style {nodes[id]} fill:{colour},color:#000")
    if tree.head in nodes:
        lines.append("    classDef head stroke-width:3px,font-weight:bold")
        lines.append(f"    class {nodes[tree.head]} head")

    return "\n".join(lines) + "\n"


def _make_label(tree: TurnTree, turn: Turn, short_id: str) -> str:
    question = to_line(read_excerpts(turn.input))
    answer = to_line(read_excerpts(turn.output))
    facts = " · ".join([short_id, *notes_with_backend(tree, turn)])

    lines = [question]
    if answer:
        lines.append(f"→ {answer}")
    lines.append(facts)
    lines.append(" · ".join(labels_of(turn)))

    labels = [_escape(shorten(to_printable(line), _WIDTH)) for line in lines if line]
    return "<br/>".join(labels)


def _escape(text: str) -> str:
    """Write what Mermaid would read as syntax as entities, which it only shows: `"` as `#34;`."""
    return _NOT_PLAIN.sub(lambda match: f"#{ord(match[0])};", text)
