"""The page of a tree in a real browser: it opens, folds, searches, and runs only its script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from synth_ai.tree.tree import Tree
from tree.browser import ENTER, Browser, chromium, missing
from tree.test_tree import ADA, EVIL, evil_tree, spoken

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(missing()), reason=missing())]

VISIBLE_ROWS = (
    "return [...document.querySelectorAll('.row')].filter(row => row.checkVisibility()).length"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as window:
        yield window


def show(
    browser: Browser, folder: Path, tree: Tree, title: str = "Conversations", mark: str = ""
) -> None:
    """Open the page of a tree; the console must be empty from here on."""
    page = folder / "tree.html"
    page.write_text(tree.to_html(title), encoding="utf-8")
    browser.open("about:blank")
    browser.console()
    browser.open(page.as_uri() + mark)


def large_tree(turns: int = 500) -> Tree:
    """A tree in which every seventh turn forks from far back, with one rare word."""
    made = [spoken("t0", None, "Begin", "Begun")]
    for n in range(1, turns):
        parent = n - 1 if n % 7 else n // 3
        rare = " heron" if n % 100 == 42 else ""
        made.append(
            spoken(
                f"t{n}",
                f"t{parent}",
                f"Question {n}",
                f"Answer {n}{rare} " * 40,
                reasoning=f"Thought {n}",
            )
        )
    return Tree.of(made, head=f"t{turns - 1}")


def test_a_large_tree_opens_folds_and_searches(browser: Browser, tmp_path: Path) -> None:
    """Five hundred turns: all are there, folding hides what is below, a search finds matches."""
    show(browser, tmp_path, large_tree())
    assert browser.run(VISIBLE_ROWS) == 500
    assert browser.text("#summary").startswith("gpt-oss-20b, harmony: 500 turns, 72 branches")
    assert "Question 499" in browser.text("#reader")

    browser.click("#fold")
    folded = browser.run(VISIBLE_ROWS)
    assert 1 < folded < 20
    browser.type("#search", "HERON")
    assert browser.text("#matches") == "5 found"
    browser.type("#search", ENTER)
    assert browser.text("#matches") == "1 of 5"
    assert "Answer 442 heron" in browser.text("#reader .turn:last-child")
    assert (
        browser.run("return document.querySelector('.turn:last-child mark').textContent") == "heron"
    )
    assert browser.run(VISIBLE_ROWS) > folded
    browser.click("#unfold")
    assert browser.run(VISIBLE_ROWS) == 500
    assert browser.console() == []


def test_a_fold_hides_what_is_below_it(browser: Browser, tmp_path: Path) -> None:
    """The knob of a turn folds its own branch and no other, and says how much it hides."""
    show(browser, tmp_path, Tree.of(ADA, head="resp_b0018888"))
    browser.click(".row:nth-child(3) .knob")
    assert browser.run(VISIBLE_ROWS) == 4
    assert browser.text(".row:nth-child(3) .more") == "+1"
    browser.click(".row:nth-child(3) .knob")
    assert browser.run(VISIBLE_ROWS) == 5
    assert browser.console() == []


def test_reasoning_is_folded_until_asked_for(browser: Browser, tmp_path: Path) -> None:
    """Answers are read first; one click opens all the reasoning."""
    show(browser, tmp_path, Tree.of(ADA, head="resp_a0017777"))
    assert "Greet her." not in browser.text("#reader")
    browser.click("#reasoning")
    assert "Greet her." in browser.text("#reader")


def test_two_branches_lie_side_by_side(browser: Browser, tmp_path: Path) -> None:
    """What they share is said once, what is their own stands in two columns."""
    show(browser, tmp_path, Tree.of(ADA, head="resp_b0018888"))
    browser.click(".bar button")
    browser.click(".row:nth-child(4)")
    left, right = browser.text(".column:first-child"), browser.text(".column:last-child")
    assert "Branch B" in left
    assert "Branch A" not in left
    assert "Branch A" in right
    assert "And on" in right
    assert "2 shared turns" in browser.text("#reader")
    where = browser.run(
        "return [...document.querySelectorAll('.column')].map(c => c.getBoundingClientRect().left)"
    )
    assert where[1] > where[0] + 100
    link = browser.run("return location.hash")
    show(browser, tmp_path, Tree.of(ADA), mark=link)
    assert "Branch B" in browser.text(".column:first-child")
    assert browser.console() == []


def test_keys_move_through_the_tree(browser: Browser, tmp_path: Path) -> None:
    """The tree can be walked without a mouse."""
    show(browser, tmp_path, Tree.of(ADA, head="resp_3fa2c19d"))
    browser.run("document.querySelector('.row').focus()")
    browser.type(".row:focus", "\ue015")  # down
    assert "What is my name?" in browser.text("#reader")
    browser.type(".row:focus", "\ue012")  # left: folds
    assert browser.run(VISIBLE_ROWS) == 2
    browser.type(".row:focus", "\ue014\ue014")  # right: unfolds, then goes in
    assert "Branch A" in browser.text("#reader")


def test_the_page_follows_the_systems_theme(browser: Browser, tmp_path: Path) -> None:
    """Dark where the system is dark, and the button turns it round."""
    colour = "return getComputedStyle(document.body).backgroundColor"
    show(browser, tmp_path, Tree.of(ADA))
    seen = {}
    for scheme in ("dark", "light"):
        browser.prefer(scheme)
        seen[scheme] = browser.run(colour)
    assert seen["dark"] != seen["light"]
    browser.click("#theme")
    assert browser.run(colour) == seen["dark"]


def test_model_text_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    """Markup in any field of a turn is shown as the text that it is."""
    show(browser, tmp_path, evil_tree(), EVIL)
    for row in ("1", "2"):
        browser.click(f".row:nth-child({row}) .label")
        browser.click("#reasoning")
    assert "<script>window.hurt=1</script>" in browser.text("#reader")
    assert browser.run("return typeof window.hurt") == "undefined"
    assert browser.run("return document.images.length") == 0
    assert browser.console() == []


def test_no_other_script_can_run_and_nothing_is_loaded(browser: Browser, tmp_path: Path) -> None:
    """Even markup that found its way in would be refused by the browser."""
    show(browser, tmp_path, Tree.of(ADA))
    browser.run(
        """const script = document.createElement('script'); script.textContent = 'window.hurt = 1';
        const image = document.createElement('img'); image.src = 'http://127.0.0.1:9/x.png';
        document.body.append(script, image)"""
    )
    assert browser.run("return typeof window.hurt") == "undefined"
    refusals = browser.console()
    assert len(refusals) == 2
    assert all("Content Security Policy" in refusal for refusal in refusals)
