"""From `response_store=` to a store: paths, stores, and URLs of registered classes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import synth_ai
from store.crashes import ENVIRONMENT
from store.outside import OutsideStore
from synth_ai import LM, register_store
from synth_ai.errors import OptionError
from synth_ai.store import open as opening
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NullStore
from synth_ai.store.open import open_store
from synth_ai.store.sqlite.store import SQLiteStore
from synth_ai.testing import ScriptedVendor


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(opening, "_factories", {"outside": OutsideStore})


async def test_what_open_store_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of writing `response_store=` gives the store that it says."""
    assert isinstance(open_store(None), MemoryStore)
    assert isinstance(open_store(False), NullStore)
    memory = MemoryStore()
    assert open_store(memory) is memory
    monkeypatch.setenv("HOME", str(tmp_path))
    for where in (tmp_path / "a.db", str(tmp_path / "a.db"), "~/a.db"):
        store = open_store(where)
        assert isinstance(store, SQLiteStore)
        assert store.path == tmp_path / "a.db"
        await store.aclose()


@pytest.mark.parametrize("where", ["", True, 3, b"turns.db", ["turns.db"]])
def test_what_names_no_store(where: object) -> None:
    """A value that is no store is refused where it is given."""
    with pytest.raises(OptionError, match="must be a path"):
        open_store(where)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (":memory:", "names no file"),
        ("memory://", "leave response_store out"),
        ("file:///tmp/turns.db", "give the path of the file itself"),
        ("SQLite:///turns.db", "give the path of the file itself"),
    ],
)
def test_what_needs_no_url(where: str, what: str) -> None:
    """The error says what to write in its place, and no file of that name is made."""
    with pytest.raises(OptionError, match=what):
        open_store(where)


def test_a_drive_of_windows_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single letter is a drive, also where somebody wrote two slashes behind it."""
    monkeypatch.setattr(opening, "_open_file", lambda path: path)
    assert open_store("C://turns.db") == "C://turns.db"  # type: ignore[comparison-overlap]


# --- registered stores ------------------------------------------------------------------------


async def test_an_lm_keeps_its_turns_in_a_registered_store() -> None:
    """The URL reaches the class as it was written, and the LM closes what it opened."""
    async with LM("m", vendor=ScriptedVendor(["Hi Ada."]), response_store="OUTSIDE://db/1") as lm:
        store = lm._config.store
        assert isinstance(store, OutsideStore)
        assert store.url == "OUTSIDE://db/1"
        first = await lm.respond_async("My name is Ada.")
    assert store.closed

    vendor = ScriptedVendor(["Ada."])
    async with LM("m", vendor=vendor, response_store="OUTSIDE://db/1") as lm:
        await lm.respond_async("Name?", previous_response_id=first.response_id)
        assert [turn.id for turn in vendor.requests[0].history] == [first.response_id]
        assert len(lm.tree()) == 2
        await lm.responses.redact_async(first.response_id or "")
        redacted = await lm._config.store.get(first.response_id or "")
    assert redacted is not None
    assert redacted.redacted


def test_the_environment_may_name_a_registered_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What works in code works in SYNTH_AI_STORE."""
    monkeypatch.setenv("SYNTH_AI_STORE", "outside://db/2")
    assert isinstance(LM("m", vendor=ScriptedVendor())._config.store, OutsideStore)


def test_a_scheme_that_is_registered_again() -> None:
    """The last one counts: a cell of a notebook may run twice."""
    register_store("Outside", lambda url: MemoryStore())
    assert isinstance(open_store("outside://db"), MemoryStore)


@pytest.mark.parametrize(
    "scheme", ["", "c", "1st", "my store", "redis:", "redis://", "ré", "a\n", None, 3, b"redis"]
)
def test_what_is_no_scheme(scheme: Any) -> None:
    """What could never stand in front of `://`, or is a drive of Windows."""
    with pytest.raises(OptionError, match=re.escape(f"not {scheme!r}: it is what stands before")):
        register_store(scheme, OutsideStore)


@pytest.mark.parametrize("scheme", ["file", "FILE", "sqlite", "memory"])
def test_a_scheme_that_is_taken(scheme: str) -> None:
    """Nobody can redirect what the library means by a name."""
    with pytest.raises(OptionError, match=f"scheme must not be '{scheme}', which is built in"):
        register_store(scheme, OutsideStore)


@pytest.mark.parametrize("factory", [None, "redis://localhost", MemoryStore()])
def test_a_factory_that_cannot_be_called(factory: Any) -> None:
    """Noticed where it is registered, not at the first LM."""
    with pytest.raises(OptionError, match="factory must be a function that takes a URL"):
        register_store("redis", factory)


@pytest.mark.parametrize(("made", "kind"), [(None, "NoneType"), (MemoryStore, "ABCMeta")])
def test_a_factory_that_makes_no_store(made: Any, kind: str) -> None:
    """The error names the factory's scheme and what came back."""
    register_store("redis", lambda url: made)
    with pytest.raises(OptionError, match=rf"for 'redis' must return a ResponseStore, .*'{kind}'"):
        open_store("redis://ada:hush@localhost/0")


def test_what_a_factory_raises_is_left_as_it_is() -> None:
    """A server that is down is the factory's to explain."""

    def refuse(url: str) -> MemoryStore:
        raise ConnectionRefusedError("nobody listens")

    register_store("redis", refuse)
    with pytest.raises(ConnectionRefusedError, match="nobody listens"):
        open_store("redis://localhost/0")


def test_an_unknown_scheme() -> None:
    """The error lists the schemes that there are, and says how to add one."""
    register_store("redis", OutsideStore)
    with pytest.raises(OptionError) as caught:
        open_store("postgresql://db/turns")
    message = str(caught.value)
    assert "'postgresql://db/turns', and no store is registered for 'postgresql'" in message
    assert "(registered: outside, redis)" in message
    assert "synth_ai.register_store('postgresql', factory)" in message


@pytest.mark.parametrize(
    "where",
    [
        "postgresql://ada:hush@db/turns",
        "postgresql://ada:hu/sh@b:hush@db/turns",
        "postgresql://ada:it is hush@db/turns",
        "postgresql://hush@db/turns",
        "postgresql://db/turns?password=hush",
        "postgresql://db/turns#hush",
        "file://ada:hush@db/turns",
        b"postgresql://ada:hush@db/turns",
        ["postgresql://ada:hush@db/turns"],
    ],
)
def test_no_error_shows_a_password(where: Any) -> None:
    """Errors go into logs, and a URL may hold a password anywhere."""
    with pytest.raises(OptionError) as caught:
        open_store(where)
    message = str(caught.value)
    assert "hush" not in message
    assert "sh@" not in message
    assert "://***@db" in message or "?***" in message or "#***" in message


def test_a_store_of_your_own_passes_the_tests_of_every_store() -> None:
    """As `test_every_store.py` describes it: a module of yours, a URL, and none of our files."""
    matrix = Path(__file__).with_name("test_every_store.py")
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "store.outside",
            ),
            *(str(matrix), "-k", "STORE_URL and not threads"),
        ],
        env=ENVIRONMENT | {"STORE_URL": "outside://{folder}"},
        cwd=matrix.parent.parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"2\d passed", done.stdout), done.stdout


def test_the_front_door_has_it() -> None:
    """A store of your own needs no name from inside the package."""
    assert synth_ai.register_store is register_store
    assert "register_store" in synth_ai.__all__
