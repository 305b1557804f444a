"""A tree in a notebook: a line for each turn, which opens to its whole text.

It has no script, and no text of a conversation becomes markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import islice

from synth_ai.tree.excerpts import Excerpt, read_excerpts, to_line
from synth_ai.tree.facts import (
    colours_of,
    headings_of,
    labels_of,
    notes_with_backend,
    shorten_ids,
    summarize,
    token_counts,
)
from synth_ai.tree.printable import shorten, to_printable, to_printable_lines
from synth_ai.tree.turn_tree import TreeRow, TurnTree

# The notebook's file holds what is drawn, so that a large store would make it large.
_MAX_ROWS = 300

# The columns of what was asked and what was answered, in the line of a turn.
_QUESTION_WIDTH = 44
_ANSWER_WIDTH = 56

# A notebook may be dark or light and does not tell: every colour is the text's, made fainter.
_STYLE = """
.synth-ai-tree{font:13px/1.55 ui-monospace,Menlo,Consolas,monospace;max-width:100%;overflow-x:auto}
.synth-ai-tree p{margin:0 0 4px;opacity:.7}
.synth-ai-tree p.conversation{margin:1.55em 0 2px;font-weight:600;opacity:1}
.synth-ai-tree summary{list-style:none;white-space:pre;cursor:pointer}
.synth-ai-tree summary::-webkit-details-marker{display:none}
.synth-ai-tree summary:hover{background:rgba(127,127,127,.14)}
.synth-ai-tree i{font-style:normal;opacity:.55}
.synth-ai-tree .text{margin:2px 0 8px 24px;padding-left:10px}
.synth-ai-tree .text{border-left:2px solid rgba(127,127,127,.4)}
.synth-ai-tree .text div{margin-bottom:5px;white-space:pre-wrap;overflow-wrap:anywhere}
"""


def to_notebook(tree: TurnTree) -> str:
    """Draw a tree as HTML for a notebook's output."""
    short_ids = shorten_ids(tree)
    headings = headings_of(tree)
    colours = colours_of(tree)
    blocks = [f"<style>{_STYLE}</style>", f"<p>{escape(summarize(tree))}</p>"]

    for row in islice(tree.rows(), _MAX_ROWS):
        heading = headings.get(row.turn.id)
        if heading is not None:
            blocks.append(f'<p class="conversation">{escape(heading)}</p>')
        colour = colours.get(row.turn.id)
        blocks.append(_draw_row(tree, row, short_ids[row.turn.id], colour))

    more = len(tree) - _MAX_ROWS
    if more > 0:
        blocks.append(f"<p>and {more:,} more turns: see <code>to_html()</code></p>")

    return f'<div class="synth-ai-tree">{"".join(blocks)}</div>'


def _draw_row(tree: TurnTree, row: TreeRow, short_id: str, colour: str | None) -> str:
    question = read_excerpts(row.turn.input)
    answer = read_excerpts(row.turn.output)

    line = _draw_line(tree, row, question, answer, short_id, colour)
    text = "".join(_draw_excerpt(excerpt) for excerpt in (*question, *answer))

    # The first turn of a conversation has a blank line before it.
    css_class = ' class="first"' if row.is_root else ""
    return f'<details{css_class}><summary>{line}</summary><div class="text">{text}</div></details>'


def _draw_line(
    tree: TurnTree,
    row: TreeRow,
    question: list[Excerpt],
    answer: list[Excerpt],
    short_id: str,
    colour: str | None,
) -> str:
    turn = row.turn
    is_head = turn.id == tree.head
    bullet = "◉" if is_head else "●"
    if colour is not None:
        bullet = f'<span style="color:{colour}">{bullet}</span>'

    facts = [*notes_with_backend(tree, turn), short_id, token_counts(turn), *labels_of(turn)]
    if is_head:
        facts.insert(0, "head")

    return (
        f"<i>{row.rails}</i>{bullet} "
        f"<b>{_escape_line(question, _QUESTION_WIDTH)}</b> "
        f"<i>→</i> {_escape_line(answer, _ANSWER_WIDTH)}"
        f"<i>  {escape('  '.join(fact for fact in facts if fact))}</i>"
    )


def _escape_line(excerpts: Iterable[Excerpt], width: int) -> str:
    return escape(shorten(to_printable(to_line(excerpts)), width))


def _draw_excerpt(excerpt: Excerpt) -> str:
    label = f"{excerpt.kind} {to_printable(excerpt.name)}".strip()
    return f"<div><i>{escape(label)}</i> {escape(to_printable_lines(excerpt.text))}</div>"
