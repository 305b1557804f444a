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


def test_a_compacted_history_is_not_kept(rendered: list[str]) -> None:
    """The id of its last turn does not tell what was left out before it."""
    cache = TranscriptCache()
    history = make_chain(3)
    for _ in range(2):
        cache.render(history[1:], [])
    assert rendered == ["turn_1", "turn_2"] * 2
    assert "turn_0" in harmony.decode(cache.render(history, []).ids)
