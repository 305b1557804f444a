"""What drawings say of a tree and its turns beside their text. All of it is printable."""

from __future__ import annotations

from synth_ai.store.json import to_json
from synth_ai.tree.printable import shorten, to_printable
from synth_ai.tree.turn_tree import TurnTree, backend_of
from synth_ai.turn import Turn

# How many characters of an id are shown at least, behind a prefix such as `resp_`.
_SHORT_ID = 6

# And how many at most.
_LONGEST_ID = 40

# The columns of a tag.
_LABEL_WIDTH = 40

# Red, yellow and green, light enough for black text on them.
_SCALE = ((224, 102, 92), (240, 200, 90), (110, 190, 110))


def summarize(tree: TurnTree) -> str:
    """Describe a tree in a few words: its turns, branches and tokens, and its only model."""
    input_tokens = 0
    output_tokens = 0
    for turn in tree.turns.values():
        tokens = _tokens_of(turn)
        if tokens is not None:
            input_tokens += tokens[0]
            output_tokens += tokens[1]

    counts = []
    if len(tree.roots) > 1:
        counts.append(f"{len(tree.roots):,} conversations")
    counts.append(_count(len(tree), "turn", "turns"))
    counts.append(_count(len(tree.leaves), "branch", "branches"))
    counts.append(f"{input_tokens:,} + {output_tokens:,} tokens (in + out)")

    text = ", ".join(counts)
    if not tree.backend:
        return text
    return f"{to_printable(tree.backend)}: {text}"


def shorten_ids(tree: TurnTree) -> dict[str, str]:
    """Cut the ids of all turns to the length at which they still differ.

    ::

        resp_3fa2c19d, resp_91bc02aa    -> resp_3fa2c1, resp_91bc02
        resp_aaaa... twice, and longer  -> resp_aaaa...~1, resp_aaaa...~2
    """
    short_ids: dict[str, str] = {}
    for length in range(_SHORT_ID, _LONGEST_ID, 2):
        short_ids = {id: _cut_id(id, length) for id in tree.turns}
        if len(set(short_ids.values())) == len(short_ids):
            return short_ids

    # Servers make ids of any length, and a line has little room.
    for number, (id, short_id) in enumerate(short_ids.items(), start=1):
        if id != short_id:
            short_ids[id] = f"{short_id}~{number}"
    return short_ids


def headings_of(tree: TurnTree) -> dict[str, str]:
    """Write a heading for each conversation, by the id of its first turn; none for a single one."""
    if len(tree.roots) < 2:
        return {}

    counts: dict[str, int] = {}
    root = ""
    for row in tree.rows():
        if row.is_root:
            root = row.turn.id
        counts[root] = counts.get(root, 0) + 1

    headings = {}
    for number, (id, count) in enumerate(counts.items(), start=1):
        turns = _count(count, "turn", "turns")
        headings[id] = f"Conversation {number:,} of {len(counts):,}, {turns}"
    return headings


def notes_of(tree: TurnTree, turn: Turn) -> list[str]:
    """Tell what a reader must know of a turn: that it did not complete, or lacks its parent."""
    notes = []
    if turn.status != "completed":
        notes.append(to_printable(turn.status))

    # A store may lack what a server still knows.
    if turn.parent_id is None:
        return notes
    if tree.parent_of(turn) is None:
        notes.append(f"continues {_cut_id(turn.parent_id, _SHORT_ID)}, which is not here")
    return notes


def notes_with_backend(tree: TurnTree, turn: Turn) -> list[str]:
    """Tell the notes of a turn, and the backend that answered if it is another one than before."""
    notes = notes_of(tree, turn)
    if tree.changes_backend(turn):
        notes.append(to_printable(backend_of(turn)))
    return notes


def labels_of(turn: Turn) -> list[str]:
    """Write the reward and the tags of a turn, and that it came from the response cache.

    ::

        reward 0.75    run=july    question=17    parts=[1,2]
    """
    labels = []
    if turn.reward is not None:
        labels.append(f"reward {turn.reward:g}")
    if turn.cached:
        labels.append("cached")

    for name, value in turn.tags.items():
        text = value if isinstance(value, str) else to_json(value)
        labels.append(to_printable(shorten(f"{name}={text}", _LABEL_WIDTH)))
    return labels


def colours_of(tree: TurnTree) -> dict[str, str]:
    """Choose the colour of each turn that has a reward, by its id, as `#rrggbb`.

    From red over yellow to green, from the lowest reward or 0 to the highest or 1. There is none
    unless the tree is to be coloured.
    """
    if tree.color_by is None:
        return {}

    rewards = {turn.id: turn.reward for turn in tree.turns.values() if turn.reward is not None}
    low = min(rewards.values(), default=0.0)
    high = max(rewards.values(), default=1.0)
    low, high = min(low, 0.0), max(high, 1.0)
    return {id: _blend((reward - low) / (high - low)) for id, reward in rewards.items()}


def _blend(place: float) -> str:
    """Mix the colour at a place from 0, the first of `_SCALE`, to 1, the last."""
    position = place * (len(_SCALE) - 1)
    index = min(int(position), len(_SCALE) - 2)
    share = position - index

    mixed = []
    for before, after in zip(_SCALE[index], _SCALE[index + 1], strict=True):
        mixed.append(round(before + (after - before) * share))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def token_counts(turn: Turn) -> str:
    """Write the tokens in+out, such as `61+24`; empty if the backend did not count them."""
    tokens = _tokens_of(turn)
    if tokens is None:
        return ""
    return f"{tokens[0]}+{tokens[1]}"


def _tokens_of(turn: Turn) -> tuple[int, int] | None:
    usage = turn.usage or {}
    is_counted = "input_tokens" in usage or "output_tokens" in usage
    if not is_counted:
        return None

    input_tokens = int(usage.get("input_tokens") or 0)
    output_tokens = int(usage.get("output_tokens") or 0)
    return input_tokens, output_tokens


def _cut_id(id: str, length: int) -> str:
    """Cut an id to so many characters behind its prefix, if it has one."""
    prefix, underscore, rest = id.partition("_")
    if not underscore:
        return to_printable(id[:length])
    return to_printable(f"{prefix}_{rest[:length]}")


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number:,} {singular if number == 1 else plural}"
