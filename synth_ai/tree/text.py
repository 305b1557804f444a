"""A tree in a terminal: plain, or in colour if rich is installed.

Both are drawn from the same lines, whose pieces carry their role.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from synth_ai.tree.excerpts import OUTPUT_MARK, read_excerpts, reasoning_line, to_line
from synth_ai.tree.facts import (
    colours_of,
    headings_of,
    labels_of,
    notes_with_backend,
    shorten_ids,
    summarize,
    token_counts,
)
from synth_ai.tree.printable import count_columns, shorten, to_printable
from synth_ai.tree.turn_tree import TreeRow, TurnTree

if TYPE_CHECKING:
    from rich.text import Text

PieceRole: TypeAlias = Literal[
    "title",
    "rail",
    "head",
    "asked",
    "output",
    "arrow",
    "answered",
    "thinks",
    "facts",
    "problem",
    "labels",
]


class Piece(NamedTuple):
    """A piece of a line; a colour of its own comes before that of its role."""

    text: str
    role: PieceRole
    colour: str = ""


Line: TypeAlias = list[Piece]

_COLOURS: Mapping[PieceRole, str] = {
    "title": "bold",
    "rail": "bright_black",
    "head": "bold green",
    "asked": "cyan",
    "output": "magenta",
    "arrow": "bright_black",
    "answered": "",
    "thinks": "italic bright_black",
    "facts": "bright_black",
    "problem": "yellow",
    "labels": "blue",
}

# The columns between which a tree reads well, and those to take if there is no terminal to ask.
_MIN_WIDTH = 60
_MAX_WIDTH = 120
_DEFAULT_WIDTH = 100

_ARROW = " → "
_HEAD_MARK = " ← head"


def terminal_width() -> int:
    """Return the terminal's columns, at most as many as a tree reads well in."""
    size = shutil.get_terminal_size((_DEFAULT_WIDTH, 24))
    return min(size.columns, _MAX_WIDTH)


def to_text(tree: TurnTree, width: int) -> str:
    """Draw a tree as plain text, in lines of `width` columns."""
    lines = []
    for line in draw_lines(tree, width):
        text = "".join(piece.text for piece in line)
        lines.append(text.rstrip())
    return "\n".join(lines)


def to_rich(tree: TurnTree, width: int) -> Text:
    """Draw a tree for rich, in colour."""
    from rich.text import Text

    # A Text, and not a string with markup: a model's brackets are no colours.
    drawing = Text(no_wrap=True, overflow="ellipsis")
    for number, line in enumerate(draw_lines(tree, width)):
        if number > 0:
            drawing.append("\n")
        for piece in line:
            drawing.append(piece.text, style=piece.colour or _COLOURS[piece.role])
    return drawing


def draw_lines(tree: TurnTree, width: int) -> Iterator[Line]:
    """Draw a tree in lines: a title, then one for each turn, and one more for its reasoning."""
    if not tree.turns:
        yield [Piece("(no turns)", "facts")]
        return

    width = max(width, _MIN_WIDTH)
    short_ids = shorten_ids(tree)
    yield [Piece(summarize(tree), "title")]

    headings = headings_of(tree)
    colours = colours_of(tree)
    for row in tree.rows():
        # Turns of two conversations stand in one column, and must not look like one.
        heading = headings.get(row.turn.id)
        if heading is not None:
            yield []
            yield [Piece(heading, "title")]
        colour = colours.get(row.turn.id, "")
        yield from _draw_turn(tree, row, short_ids[row.turn.id], width, colour)


def _draw_turn(
    tree: TurnTree, row: TreeRow, short_id: str, width: int, colour: str
) -> Iterator[Line]:
    turn = row.turn
    is_head = turn.id == tree.head
    facts = f"  {short_id}{token_counts(turn):>10}"

    rails = _fit_rails(row.rails, width)
    line: Line = [Piece(rails, "rail")]
    if is_head:
        line.append(Piece("◉ ", "head", colour))
    else:
        line.append(Piece("● ", "rail", colour))

    # The question takes at most half of the room between rails and facts, the answer the rest.
    room = width - _columns_of(line) - count_columns(facts)
    if is_head:
        room -= len(_HEAD_MARK)

    notes = "; ".join(notes_with_backend(tree, turn))
    if notes:
        problem = f"[{shorten(notes, room // 2 - 3)}] "
        line.append(Piece(problem, "problem"))
        room -= count_columns(problem)

    output = read_excerpts(turn.output)
    question = to_printable(to_line(read_excerpts(turn.input)))
    question = shorten(question, room // 2)
    answer = to_printable(to_line(output))
    answer = shorten(answer, room - count_columns(question) - len(_ARROW))
    role: PieceRole = "output" if question.startswith(OUTPUT_MARK.strip()) else "asked"
    line += [Piece(question, role), Piece(_ARROW, "arrow"), Piece(answer, "answered")]
    if is_head:
        line.append(Piece(_HEAD_MARK, "head"))

    gap = width - _columns_of(line) - count_columns(facts)
    line.append(Piece(" " * gap + facts, "facts"))
    yield line

    rails = _fit_rails(row.rails_below, width)
    room = width - count_columns(rails) - count_columns(facts)
    reasoning = to_printable(reasoning_line(output))
    if reasoning:
        yield [Piece(rails, "rail"), Piece(shorten(f"thinks: {reasoning}", room), "thinks")]
    labels = " · ".join(labels_of(turn))
    if labels:
        yield [Piece(rails, "rail"), Piece(shorten(labels, room), "labels", colour)]


def _fit_rails(rails: str, width: int) -> str:
    """Cut the rails of deep forks from the left, so that they take at most a third of a line."""
    longest = width // 3
    if len(rails) <= longest:
        return rails
    return "⋯ " + rails[len(rails) - longest + 2 :]


def _columns_of(line: Line) -> int:
    return sum(count_columns(piece.text) for piece in line)
