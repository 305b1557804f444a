"""The cache of rendered conversations: the same ids with it as without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from store.turns import make_chain, make_turn
from synth_ai import harmony
from synth_ai.lm.vendors.gpt_oss import cache as cache_module
from synth_ai.lm.vendors.gpt_oss.cache import TranscriptCache
from synth_ai.lm.vendors.gpt_oss.prompt import append_turn
from synth_ai.turn import Turn

QUESTION = {"type": "message", "role": "user", "content": "And now?"}


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the turns that are rendered from here on."""
    ids: list[str] = []

    def append(transcript: harmony.Transcript, turn: Turn) -> harmony.Transcript:
        ids.append(turn.id)
        return append_turn(transcript, turn)

    monkeypatch.setattr(cache_module, "append_turn", append)
    return ids


def test_a_turn_is_rendered_once(rendered: list[str]) -> None:
    """The next call, and a fork of an earlier turn, render only what is new."""
    cache = TranscriptCache()
    history = make_chain(3)
    first = cache.render(history, [QUESTION]).ids
    fork = [*history[:2], make_turn("fork", "turn_1")]
    assert cache.render(history, [QUESTION]).ids == first
    assert cache.render(fork, [QUESTION]).ids == TranscriptCache().render(fork, [QUESTION]).ids
    assert rendered == ["turn_0", "turn_1", "turn_2", "fork", "turn_0", "turn_1", "fork"]


def test_a_response_is_added_with_its_history(rendered: list[str]) -> None:
    """What was sampled need not be rendered when the next call comes."""
    cache = TranscriptCache()
    history = make_chain(2)
    transcript = harmony.Transcript().with_items([QUESTION])
    cache.add(history[:1], "turn_1", transcript)
    assert cache.render(history, []).ids == transcript.ids
    assert rendered == []


def test_the_least_recently_used_goes_first(rendered: list[str]) -> None:
    """The cache does not grow beyond its size."""
    cache = TranscriptCache(size=2)
    one, two, three = ([make_turn(id)] for id in ("one", "two", "three"))
    for history in (one, two, one, three, one, two):
        cache.render(history, [])
    assert rendered == ["one", "two", "three", "two"]


def test_a_redacted_turn_is_rendered_anew(rendered: list[str]) -> None:
    """Its text is gone from the turns behind it, too."""
    cache = TranscriptCache()
    history = make_chain(2)
    cache.render(history, [])
    rendered.clear()
    cache.render([replace(history[0], redacted=True), history[1]], [])
    assert rendered == ["turn_0", "turn_1"]


@pytest.mark.parametrize("changed", range(3))
@pytest.mark.parametrize("fact", ["input", "output", "output_token_ids"])
def test_a_turn_that_was_replaced_is_rendered_anew(
    rendered: list[str], changed: int, fact: str
) -> None:
    """Deleted and imported under the same id, with other text."""
    cache = TranscriptCache()
    history = make_chain(3)
    cache.render(history, [])
    rendered.clear()

    other = make_turn("other")
    facts = {"input": other.input, "output": other.output, "output_token_ids": [200006, 173781]}
    edited = list(history)
    edited[changed] = replace(history[changed], **{fact: facts[fact]})
    for _ in range(2):
        expected = TranscriptCache().render(edited, [QUESTION]).ids
        rendered.clear()
        assert cache.render(edited, [QUESTION]).ids == expected
    assert rendered == []
    assert cache.render(history, []).ids == TranscriptCache().render(history, []).ids


def test_equal_turns_that_are_read_again_are_not_rendered(rendered: list[str]) -> None:
    """A file gives another object each time."""
    cache = TranscriptCache()
    cache.render(make_chain(3), [])
    rendered.clear()
    cache.render(make_chain(3), [])
    assert rendered == []


def test_a_compacted_history_is_not_kept(rendered: list[str]) -> None:
    """The id of its last turn does not tell what was left out before it."""
    cache = TranscriptCache()
    history = make_chain(3)
    for _ in range(2):
        cache.render(history[1:], [])
    assert rendered == ["turn_1", "turn_2"] * 2
    assert "turn_0" in harmony.decode(cache.render(history, []).ids)
