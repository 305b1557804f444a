"""Trees and their drawings: all that is stored is drawn, and text of a model only shows."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from io import StringIO
from typing import Any

import pytest

from store.turns import make_chain, make_turn
from synth_ai.tree.printable import count_columns, shorten
from synth_ai.tree.text import to_text
from synth_ai.tree.tree import Tree
from synth_ai.turn import Turn


def spoken(
    id: str, parent_id: str | None, asked: str, answer: str, *, reasoning: str = "", **facts: Any
) -> Turn:
    output: list[dict[str, Any]] = []
    if reasoning:
        output.append(
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": reasoning}]}
        )
    if answer:
        output.append(
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": answer}],
            }
        )
    asked_item = {"type": "message", "role": "user", "content": asked}
    return make_turn(id, parent_id, **({"input": (asked_item,), "output": tuple(output)} | facts))


ADA = [
    spoken(
        "resp_3fa2c19d", None, "My name is Ada.", "Nice to meet you, Ada.", reasoning="Greet her."
    ),
    spoken("resp_91bc02aa", "resp_3fa2c19d", "What is my name?", "Ada."),
    spoken("resp_a0017777", "resp_91bc02aa", "Branch A", "Here is A."),
    spoken("resp_b0018888", "resp_91bc02aa", "Branch B", "Here is B.", status="incomplete"),
    spoken(
        "resp_a0029999", "resp_a0017777", "And on", "On we go.", model="gpt-5", api_type="responses"
    ),
]


def test_the_picture_of_a_small_tree() -> None:
    """The whole drawing, as a reader of the quickstart sees it."""
    assert to_text(Tree.of(ADA, head="resp_b0018888"), 80) == "\n".join(
        [
            "5 turns, 2 branches, 100 + 50 tokens (in + out)",
            "● [gpt-oss-20b, harmony] My name is Ada. → Nice to meet…   resp_3fa2c1     20+10",
            "│ thinks: Greet her.",
            "● What is my name? → Ada.                                  resp_91bc02     20+10",
            "├─● Branch A → Here is A.                                  resp_a00177     20+10",
            "│ ● [gpt-5, responses] And on → On we go.                  resp_a00299     20+10",
            "└─◉ [incomplete] Branch B → Here is B. ← head              resp_b00188     20+10",
        ]
    )


def test_a_blank_line_parts_conversations() -> None:
    """Turns of two conversations stand in one column, and must not look like one."""
    plain = [
        spoken("resp_1", None, "Hi", "Hello."),
        spoken("resp_2", "resp_1", "And?", "That is all."),
        spoken("resp_3", None, "Another", "Here."),
        spoken("resp_4", None, "A third", "There."),
    ]
    starts = [line[:14] for line in to_text(Tree.of(plain), 80).splitlines()[1:]]
    assert starts == [
        "",
        "Conversation 1",
        "● Hi → Hello. ",
        "● And? → That ",
        "",
        "Conversation 2",
        "● Another → He",
        "",
        "Conversation 3",
        "● A third → Th",
    ]
    heading = "Conversation 1 of 3, 2 turns"
    assert heading in to_text(Tree.of(plain), 80)
    assert heading in Tree.of(plain)._repr_mimebundle_()["text/html"]
    assert Tree.of(plain).to_mermaid().count("subgraph") == 3
    assert "Conversation" not in to_text(Tree.of(plain[:2]), 80)


def test_a_notebook_parts_conversations() -> None:
    """The first turn of each has a class, by which its style sets it apart."""
    page = Tree.of([*make_chain(2), *make_chain(2, "other")])._repr_mimebundle_()["text/html"]
    classes = re.findall(r"<details( class=\"first\")?>", page)
    assert [bool(found) for found in classes] == [True, False, True, False]


def test_one_model_is_named_once() -> None:
    """Where every turn has the same model, only the title names it."""
    lines = str(Tree.of(ADA[:2])).splitlines()
    assert lines[0].startswith("gpt-oss-20b, harmony: 2 turns, 1 branch")
    assert "gpt-oss" not in "".join(lines[1:])


def test_calls_and_their_outputs_are_read() -> None:
    """A turn without text is not an empty line."""
    call = {
        "type": "function_call",
        "call_id": "c",
        "name": "weather",
        "arguments": '{"city": "Kyiv"}',
    }
    output = {"type": "function_call_output", "call_id": "c", "output": "18 degrees"}
    picture = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_image", "image_url": "data:,"}],
    }
    unknown = {"type": "web_search_call", "action": {"query": "rain"}}
    tree = Tree.of(
        [
            make_turn("a", input=(picture,), output=(call,)),
            make_turn("b", "a", input=(output,), output=(unknown,)),
        ]
    )
    text = to_text(tree, 120)
    assert '[1 image(s)] → weather({"city": "Kyiv"})' in text
    assert '↳ tool: 18 degrees → {"type": "web_search_call"' in text
    assert "↳ tool: 18 degrees" in tree._repr_mimebundle_()["text/html"]


def test_an_empty_tree_has_a_picture() -> None:
    """Nothing stored is no error."""
    tree = Tree.of([])
    assert str(tree) == "(no turns)"
    assert tree.to_mermaid() == "flowchart TD\n"
    assert json.loads(tree.to_json()) == {"head": None, "turns": []}
    assert "<html" in tree.to_html()
    assert "0 turns" in tree._repr_mimebundle_()["text/html"]


def test_a_conversation_can_be_looked_at_alone() -> None:
    """`around` takes a turn's conversation with all its branches, `branch` the way to it."""
    tree = Tree.of([*make_chain(3), make_turn("fork", "turn_0"), *make_chain(2, "other")])
    assert tree.roots == ("turn_0", "other_0")
    assert set(tree.around("fork").turns) == {"turn_0", "turn_1", "turn_2", "fork"}
    assert [turn.id for turn in tree.branch("turn_2")] == ["turn_0", "turn_1", "turn_2"]
    assert [turn.id for turn in tree.leaves] == ["turn_2", "fork", "other_1"]
    with pytest.raises(KeyError):
        tree.around("unknown")


def test_a_turn_whose_parent_is_not_here_is_shown_as_such() -> None:
    """A server may know more than the store: the beginning is marked, not hidden."""
    assert "[continues resp_eeeeee, which is not here]" in to_text(
        Tree.of([make_turn("a", "resp_eeeeeeee")]), 120
    )


def test_damaged_links_hide_no_turn() -> None:
    """Turns that lead to themselves are drawn once each, and drawing ends."""
    tree = Tree.of(
        [
            make_turn("a", "c"),
            make_turn("b", "a"),
            make_turn("c", "b"),
            make_turn("d", "d"),
            make_turn("e", "b"),
        ]
    )
    assert sorted(turn.id for turn in tree.walk()) == ["a", "b", "c", "d", "e"]
    drawn = [line for line in str(tree).splitlines() if line]
    assert len(drawn) == 1 + 2 + 2 * 5  # two conversations, each with a heading
    assert len(tree.branch("e")) == 4


def test_the_page_of_damaged_links_can_be_walked() -> None:
    """Its script follows the parents of a turn to the first one, so none may lead in a circle."""
    page = Tree.of([make_turn("a", "b"), make_turn("b", "a"), make_turn("c", "c")]).to_html()
    embedded = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    turns = json.loads(embedded[1])["turns"]
    assert [(turn["id"], turn["parent"]) for turn in turns] == [("a", None), ("b", 0), ("c", None)]


def test_long_and_wide_trees_are_drawn() -> None:
    """Neither thousands of turns in a row nor a fork at every turn overflow stack or line."""
    chain = make_chain(5000)
    assert len(str(Tree.of(chain)).splitlines()) == 1 + 2 * 5000
    forks = [*chain[:300], *(make_turn(f"side_{n}", f"turn_{n}") for n in range(299))]
    text = to_text(Tree.of(forks), 100)
    assert max(map(len, text.splitlines())) <= 100


def test_the_terminal_is_only_written_to() -> None:
    """No escape sequence of a model reaches the terminal; odd characters break no line."""
    evil = "\x1b[2J\x1b]0;title\x07 right\u202eleft\r\n\tnext \ud83d line\u2028end 👩‍🚀"
    text = to_text(
        Tree.of(
            [spoken("resp_\x1b[0m1", None, evil, evil, reasoning=evil, model=evil, status=evil)]
        ),
        120,
    )
    assert all(line.isprintable() for line in text.splitlines())
    assert len(text.splitlines()) == 3
    text.encode()


def test_columns_are_counted_as_a_terminal_does() -> None:
    """Chinese takes two columns a character, so the ids stay in line."""
    assert count_columns("北京") == 4
    assert count_columns("e\u0301") == 1
    assert shorten("北京天气", 5) == "北京…"
    text = to_text(
        Tree.of(
            [
                spoken("resp_1", None, "北京天气" * 20, "晴" * 80),
                spoken("resp_2", "resp_1", "hi", "yo"),
            ]
        ),
        80,
    )
    assert {count_columns(line) for line in text.splitlines()[1:]} == {80}


def test_rich_draws_the_same_in_colour() -> None:
    """With rich the text is the same, in the width of the console."""
    console_module = pytest.importorskip("rich.console")
    out = StringIO()
    console = console_module.Console(
        file=out, width=80, force_terminal=True, color_system="standard"
    )
    tree = Tree.of(ADA, head="resp_b0018888")
    console.print(tree)
    assert "\x1b[" in out.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert [line.rstrip() for line in plain.splitlines()] == to_text(tree, 80).splitlines()


def test_json_holds_everything() -> None:
    """What is exported for other programs is the turns as they are stored."""
    exported = json.loads(Tree.of(ADA, head="resp_b0018888").to_json())
    assert exported["head"] == "resp_b0018888"
    assert [turn["id"] for turn in exported["turns"]] == [ADA[n].id for n in (0, 1, 2, 4, 3)]
    assert exported["turns"][0]["output"] == list(ADA[0].output)


EVIL = (
    '</script><script>window.hurt=1</script><img src=x onerror="window.hurt=1">"]\n'
    "`x` #quot; ${1} {{data}} <!--<script>"
)


def evil_tree() -> Tree:
    call = {"type": "function_call", "call_id": EVIL, "name": EVIL, "arguments": EVIL}
    item = {"type": EVIL, EVIL: EVIL}
    picture = {
        "type": "input_image",
        "image_url": f'data:image/svg+xml,<svg onload="hurt=1">{EVIL}',
    }
    asked = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": EVIL}, picture],
    }
    facts: dict[str, Any] = {
        "model": EVIL,
        "api_type": EVIL,
        "status": EVIL,
        "instructions": EVIL,
        "usage": None,
    }
    turns = [
        spoken(f"resp_{EVIL}", EVIL, EVIL, EVIL, reasoning=EVIL, **facts),
        make_turn("second", f"resp_{EVIL}", input=(asked,), output=(call, item)),
    ]
    return Tree.of(turns, head=f"resp_{EVIL}")


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [name for name, _ in attrs]))


def test_a_notebook_shows_model_text_as_text() -> None:
    """In a notebook no tag and no attribute comes from a model."""
    page = evil_tree()._repr_mimebundle_()["text/html"]
    tags = Tags(page).found
    assert {tag for tag, _ in tags} <= {"div", "style", "p", "details", "summary", "i", "b", "code"}
    assert {name for _, names in tags for name in names} == {"class"}
    assert page.count("window.hurt=1") > 4
    page.encode()


def test_a_page_has_no_markup_from_models() -> None:
    """Whatever the turns hold, the page has the same tags, and its script ends where it should."""
    evil, harmless = Tags(evil_tree().to_html(EVIL)).found, Tags(Tree.of(ADA).to_html()).found
    assert evil == harmless
    assert [tag for tag, _ in evil].count("script") == 2


def test_mermaid_labels_hold_no_syntax() -> None:
    """A label ends only where we end it."""
    lines = evil_tree().to_mermaid().splitlines()
    labels = [re.fullmatch(r'    t\d+\["([^"]*)"\]', line) for line in lines if "[" in line]
    assert len(labels) == 2
    for label in labels:
        assert label is not None
        assert not re.search(r"[<>\[\]{}`\\]", label[1].replace("<br/>", ""))


def test_mermaid_draws_every_link() -> None:
    """One box a turn, one arrow a link, and the head is marked."""
    text = Tree.of(ADA, head="resp_b0018888").to_mermaid()
    assert text.count("-->") == 4
    assert "class t4 head" in text


def test_a_notebook_of_a_large_store_stays_small() -> None:
    """A notebook's file is not flooded by a store of thousands of turns."""
    page = Tree.of(make_chain(5000))._repr_mimebundle_()["text/html"]
    assert "and 4,700 more turns" in page
    assert len(page) < 400_000


def test_long_ids_with_one_beginning_are_told_apart_at_once() -> None:
    """A server makes ids of any length; cutting them must not take minutes."""
    ids = ["resp_" + "a" * 200_000 + end for end in "12"]
    text = to_text(Tree.of([make_turn(id) for id in ids]), 100)
    assert ("~1" in text, "~2" in text) == (True, True)
    assert max(map(len, text.splitlines())) <= 200


def test_a_tree_that_forks_at_every_turn_stays_small() -> None:
    """Each row has the rails of all forks above it, up to a bound."""
    turns = []
    parent = None
    for number in range(4000):
        turns += [make_turn(f"{number}a", parent), make_turn(f"{number}b", parent)]
        parent = f"{number}{'ab'[number % 2]}"
    tree = Tree.of(turns)
    assert max(len(row.rails) for row in tree.rows()) <= 202
    assert len(tree.to_html()) < 15_000_000
    assert len(str(tree)) < 3_000_000


def test_control_characters_reach_no_notebook() -> None:
    evil = "a\x1b[31m\x9b5m\u202egnp.exe\nnext\tline \ud800"
    page = Tree.of([spoken("resp_1", None, evil, evil)])._repr_mimebundle_()["text/html"]
    assert not set("\x1b\x9b\u202e\ud800") & set(page)
    assert "next\tline" in page
