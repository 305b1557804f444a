"""Stop strings: found wherever the pieces are cut, and nothing shown that belongs to one."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth_ai.lm.stop_strings import StopStrings


def test_without_stops_all_passes() -> None:
    """Nothing is held back where nothing is looked for."""
    stops = StopStrings(())
    assert [stops.feed("a"), stops.feed("b"), stops.flush()] == ["a", "b", ""]
    assert (stops.text, stops.hit) == ("ab", None)


def test_the_beginning_of_a_stop_is_held_back() -> None:
    """It is shown once it turns out to be something else."""
    stops = StopStrings(["END"])
    assert [stops.feed("one E"), stops.feed("N"), stops.feed("V E"), stops.flush()] == [
        "one ",
        "",
        "ENV ",
        "E",
    ]
    assert (stops.text, stops.hit) == ("one ENV E", None)


def test_nothing_passes_after_a_stop() -> None:
    """The first one counts, of several the one that begins first."""
    stops = StopStrings(["END", "FIN"])
    assert [stops.feed("a FI"), stops.feed("N END"), stops.feed("more"), stops.flush()] == [
        "a ",
        "",
        "",
        "",
    ]
    assert (stops.text, stops.hit) == ("a ", "FIN")


@pytest.mark.parametrize("stops", [["ab", "abc"], ["abc", "ab"]])
def test_one_stop_may_begin_another(stops: list[str]) -> None:
    """The cut is at the same place whichever is named."""
    found = StopStrings(stops)
    assert found.feed("xabc") == "x"
    assert found.text == "x"


@pytest.mark.parametrize("stops", [(), ("END",)])
def test_text_in_pieces_takes_linear_time(stops: tuple[str, ...]) -> None:
    """What has been let through is not copied again for every piece."""

    def seconds(count: int) -> float:
        found, began = StopStrings(stops), time.process_time()
        for _ in range(count):
            found.feed(" " * 500)
        assert len(found.text + found.flush()) == 500 * count
        return time.process_time() - began

    short, long = (min(seconds(count) for _ in range(3)) for count in (1500, 6000))
    assert long < 9 * short + 0.01


@given(
    text=st.text("ab", max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 30), max_size=6),
)
def test_pieces_do_not_matter(text: str, stops: list[str], cuts: list[int]) -> None:
    """However a text is cut into pieces, the same of it passes: all before the first stop."""
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole = StopStrings(stops)
    shown = "".join(whole.feed(text[start:end]) for start, end in pairwise(at)) + whole.flush()
    found = [position for stop in stops if (position := text.find(stop)) >= 0]
    assert whole.text == shown
    if not found:
        assert shown == text
        assert whole.hit is None
    else:
        assert whole.hit in stops
        assert text.startswith(shown + whole.hit)
        assert not any(stop in shown for stop in stops)
