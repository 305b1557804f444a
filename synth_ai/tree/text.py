"""A tree in a terminal: plain, or in colour where rich is installed.

Both are drawn from the same lines, whose pieces carry the part that they play.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

from synth_ai.tree.excerpts import backend_of, one_line, passages, reasoning
from synth_ai.turn import Turn

if TYPE_CHECKING:
    from rich.text import Text

    from synth_ai.tree.tree import Tree

Part: TypeAlias = Literal[
    "title", "rail", "head", "asked", "arrow", "answered", "thinks", "facts", "problem"
]
Line: TypeAlias = list[tuple[str, Part]]

_COLOURS: dict[Part, str] = {
    "title": "bold",
    "rail": "bright_black",
    "head": "bold green",
    "asked": "cyan",
    "arrow": "bright_black",
    "answered": "",
    "thinks": "italic bright_black",
    "facts": "bright_black",
    "problem": "yellow",
}

_MIN_WIDTH, _MAX_WIDTH = 60, 120
_SHORT_ID = 6


def terminal_width() -> int:
    """The terminal's columns, in the bounds between which a tree reads well; 100 where there is no terminal."""
    return min(shutil.get_terminal_size((100, 24)).columns, _MAX_WIDTH)


def to_text(tree: Tree, width: int) -> str:
    """The tree as plain text, in lines of `width` columns."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines(tree, width))


def to_rich(tree: Tree, width: int) -> Text:
    """The tree for rich, in colour."""
    from rich.text import Text

    drawn = Text(no_wrap=True, overflow="ellipsis")
    for number, line in enumerate(lines(tree, width)):
        drawn.append("\n" if number else "")
        for text, part in line:
            drawn.append(text, style=_COLOURS[part])
    return drawn


def lines(tree: Tree, width: int) -> Iterator[Line]:
    """The lines of the picture: one a turn, and one more for its reasoning."""
    width = max(width, _MIN_WIDTH)
    if not tree.turns:
        yield [("(no turns)", "facts")]
        return
    ids = short_ids(tree)
    yield [(summary(tree), "title")]
    for turn, rails, below in tree.rows():
        yield from _turn_lines(tree, turn, ids, rails, below, width)


def summary(tree: Tree) -> str:
    """The tree in a few words: its turns, branches and tokens, and its model if there is but one."""
    tokens = [_tokens(turn) for turn in tree.turns.values()]
    counts = [
        _count(len(tree), "turn", "turns"),
        _count(len(tree.leaves), "branch", "branches"),
        f"{sum(pair[0] for pair in tokens if pair):,} + {sum(pair[1] for pair in tokens if pair):,} tokens (in + out)",
    ]
    if len(tree.roots) > 1:
        counts.insert(0, _count(len(tree.roots), "conversation", "conversations"))
    return (f"{printable(tree.backend)}: " if tree.backend else "") + ", ".join(counts)


def short_ids(tree: Tree) -> dict[str, str]:
    """For every turn the start of its id, long enough to tell it from the others."""
    for length in range(_SHORT_ID, max(map(len, tree.turns), default=0), 2):
        ids = {id: _cut_id(id, length) for id in tree.turns}
        if len(set(ids.values())) == len(ids):
            return ids
    return {id: printable(id) for id in tree.turns}


def notes_of(tree: Tree, turn: Turn) -> list[str]:
    """What a reader must know of a turn: a status that is not `completed`, a parent that is not here."""
    notes = [] if turn.status == "completed" else [turn.status]
    if turn.parent_id is not None and turn.parent_id not in tree.turns:
        notes.append(f"continues {_cut_id(turn.parent_id, _SHORT_ID)}, which is not here")
    return [printable(note) for note in notes]


def printable(text: str) -> str:
    """`text` in one line that a terminal only shows: no control character of the model's reaches it."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(_shown(character) for character in line)


def token_counts(turn: Turn) -> str:
    """Tokens in+out, such as `61+24`; empty where the backend did not say."""
    counts = _tokens(turn)
    return f"{counts[0]}+{counts[1]}" if counts else ""


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` columns of a terminal, cut with an ellipsis."""
    if columns(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += columns(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for a Chinese character, none for a combining accent."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(1 for character in text if unicodedata.combining(character))


def _turn_lines(
    tree: Tree, turn: Turn, ids: dict[str, str], first: str, rest: str, width: int
) -> Iterator[Line]:
    is_head = turn.id == tree.head
    facts = f"  {ids[turn.id]}{token_counts(turn):>10}"
    first, rest = _rails(first, width), _rails(rest, width)
    line: Line = [(first, "rail"), ("◉ ", "head") if is_head else ("● ", "rail")]
    problem = "; ".join(
        notes_of(tree, turn) + ([printable(backend_of(turn))] if tree.changes_backend(turn) else [])
    )
    room = width - columns(first) - 2 - columns(facts) - (7 if is_head else 0)
    if problem:
        problem = f"[{shorten(problem, room // 2 - 3)}] "
        room -= columns(problem)
        line.append((problem, "problem"))
    question = shorten(printable(one_line(passages(turn.input))), room // 2)
    output = passages(turn.output)
    answer = shorten(printable(one_line(output)), room - columns(question) - 3)
    line += [(question, "asked"), (" → ", "arrow"), (answer, "answered")]
    if is_head:
        line.append((" ← head", "head"))
        room += 7
    gap = width - sum(columns(text) for text, _ in line) - columns(facts)
    yield [*line, (" " * gap + facts, "facts")]
    if thought := printable(reasoning(output)):
        text = "thinks: " + thought
        yield [(rest, "rail"), (shorten(text, width - columns(rest) - columns(facts)), "thinks")]


def _rails(rails: str, width: int) -> str:
    """The rails of a turn; where forks lie so deep that they would leave no room, only the last of them."""
    most = width // 3
    return rails if len(rails) <= most else "⋯ " + rails[len(rails) - most + 2 :]


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    # Format characters, such as the joiners of emoji, are dropped; a control character leaves a mark.
    return "" if unicodedata.category(character) == "Cf" else "\N{REPLACEMENT CHARACTER}"


def _tokens(turn: Turn) -> tuple[int, int] | None:
    usage = turn.usage or {}
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return None
    return int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0)


def _cut_id(id: str, length: int) -> str:
    start, underscore, rest = id.partition("_")
    if not underscore:
        start, rest = "", id
    return printable(f"{start}{underscore}{rest[:length]}")


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
