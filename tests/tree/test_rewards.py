"""Tags and rewards in drawings: shown where there are any, and colours where they are asked for."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest

from store.turns import make_turn
from synth_ai import LM, SQLiteStore
from synth_ai.errors import OptionError, RequestError, UnknownResponseError
from synth_ai.testing import ScriptedVendor
from synth_ai.tree.text import to_text
from synth_ai.tree.tree import Tree

TURNS = [
    make_turn("root", tags={"run": "july", "parts": [1, {"a": None}]}),
    make_turn("good", "root", reward=1.0, cached=True),
    make_turn("bad", "root", reward=0.0, tags={"note": "</script><b>x\x1b[31m\n"}),
    make_turn("half", "root", reward=0.5),
]


def test_a_terminal_shows_rewards_and_tags() -> None:
    """Below the turn, in one line each; nothing acts on the terminal."""
    text = to_text(Tree.of(TURNS), 100)
    assert 'run=july · parts=[1,{"a":null}]' in text
    assert "reward 1 · cached" in text
    assert "reward 0 · note=</script><b>x" in text
    assert "\x1b" not in text
    plain = to_text(Tree.of([make_turn("a")]), 100)
    assert len(plain.splitlines()) == 3  # a title, the turn, its reasoning


def test_colours_are_there_on_request_alone() -> None:
    """Red for the lowest, green for the highest, none for a turn without a reward."""
    pytest.importorskip("rich")
    from rich.console import Console

    red, yellow, green = "#e0665c", "#f0c85a", "#6ebe6e"
    plain, coloured = Tree.of(TURNS), Tree.of(TURNS, color_by="reward")
    assert json.loads(coloured.to_json())["colors"] == {"good": green, "bad": red, "half": yellow}
    assert "colors" not in json.loads(plain.to_json())
    assert [turn["reward"] for turn in json.loads(plain.to_json())["turns"]] == [None, 1, 0, 0.5]

    mermaid = coloured.to_mermaid()
    assert f"style t1 fill:{green},color:#000" in mermaid
    assert "style t0" not in mermaid
    assert "reward 1" in mermaid
    assert "style" not in plain.to_mermaid()

    notebook = coloured._repr_mimebundle_()["text/html"]
    assert notebook.count(f'<span style="color:{red}">●</span>') == 1
    assert "reward 0.5" in notebook
    assert "<b>x" not in notebook
    assert "#e0665c" not in plain._repr_mimebundle_()["text/html"]

    def page_turns(tree: Tree) -> dict[str, dict[str, object]]:
        data = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', tree.to_html(), re.DOTALL)
        assert data is not None
        return {turn["id"]: turn for turn in json.loads(data[1])["turns"]}

    assert page_turns(coloured)["bad"]["colour"] == red
    assert page_turns(coloured)["root"]["colour"] == ""
    assert page_turns(plain)["bad"]["colour"] == ""
    assert page_turns(plain)["good"]["labels"] == ["reward 1", "cached"]

    def drawn(tree: Tree) -> str:
        file = StringIO()
        Console(file=file, force_terminal=True, color_system="truecolor", width=100).print(tree)
        return file.getvalue()

    # 224;102;92 is the red one, as terminals write it.
    assert "38;2;224;102;92" in drawn(coloured)
    assert "38;2;224;102;92" not in drawn(plain)
    # An around keeps the colours.
    assert "colors" in json.loads(coloured.around("good").to_json())


@pytest.mark.parametrize(
    ("rewards", "colours"),
    [
        ([1.0], ["#6ebe6e"]),
        ([0.0], ["#e0665c"]),
        ([-1.0, 1.0, 0.0], ["#e0665c", "#6ebe6e", "#f0c85a"]),
        ([5.0, 10.0], ["#f0c85a", "#6ebe6e"]),
        ([], []),
    ],
)
def test_the_scale_has_0_and_1_in_it(rewards: list[float], colours: list[str]) -> None:
    """One reward alone says whether it is good, too."""
    turns = [make_turn(f"turn_{n}", reward=reward) for n, reward in enumerate(rewards)]
    tree = Tree.of([*turns, make_turn("none")], color_by="reward")
    assert list(json.loads(tree.to_json())["colors"].values()) == colours


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_tree_around_one_response(kind: str, tmp_path: Path) -> None:
    """From its first turn on, with all branches, and nothing of other conversations."""
    store = None if kind == "memory" else SQLiteStore(tmp_path / "turns.db")
    lm = LM("x", vendor=ScriptedVendor([str(n) for n in range(6)]), response_store=store)
    root = lm.respond("root")
    left = lm.respond("left")
    right = lm.respond("right", previous_response_id=root.response_id)
    leaf = lm.respond("leaf")
    lm.reset()
    other = lm.respond("other")
    ids = [each.response_id for each in (root, left, right, leaf)]
    for response in (root, left, right, leaf):
        assert sorted(lm.tree(response.response_id).turns) == sorted(ids)
    assert list(lm.tree(other.response_id).turns) == [other.response_id]
    assert lm.tree(other.response_id).head == other.response_id
    assert len(lm.tree()) == 5

    lm.responses.annotate(left.response_id, reward=1)
    assert "colors" in json.loads(lm.tree(root.response_id, color_by="reward").to_json())
    with pytest.raises(UnknownResponseError, match="'unknown' is not in"):
        lm.tree("unknown")
    with pytest.raises(RequestError):
        lm.tree("")
    with pytest.raises(OptionError, match="color_by must be 'reward' or None, not 'mood'"):
        lm.tree(color_by="mood")  # type: ignore[arg-type]


def test_the_tree_around_a_response_whose_beginning_is_missing() -> None:
    """A server may know what the store does not: the tree has what there is."""
    lm = LM("x", vendor=ScriptedVendor(["one", "two"]))
    first = lm.respond("Hi", previous_response_id="resp_elsewhere")
    second = lm.respond("And?")
    tree = lm.tree(second.response_id)
    assert list(tree.turns) == [first.response_id, second.response_id]
