"""Files of older versions are read, newer ones refused; see `fixtures/make_old_files.py`."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from store.crashes import ENVIRONMENT
from store.turns import make_turn
from synth_ai.errors import StoreCorruptError, StoreFormatError, StoreImportError
from synth_ai.store.memory import MemoryStore
from synth_ai.store.sqlite.readonly import read_turns
from synth_ai.store.sqlite.store import SQLiteStore
from synth_ai.store.transfer import from_lines, import_turns
from synth_ai.turn import Turn

FIXTURES = Path(__file__).parent / "fixtures"
OPENAI = "https://api.openai.com/v1"
TOOLS = ({"type": "function", "name": "search", "parameters": {"type": "object"}},)

OLD_VERSIONS = pytest.mark.parametrize("version", [1, 2, 3])


def question(text: str, **more: object) -> tuple[dict[str, object], ...]:
    return ({"type": "message", "role": "user", "content": text, **more},)


def answer(text: str) -> tuple[dict[str, object], ...]:
    return ({"type": "message", "role": "assistant", "content": text},)


def turns_of(version: int) -> list[Turn]:
    """What the file of a version must read as."""
    plain = Turn(
        id="plain",
        parent_id=None,
        api_type="chat",
        model="gpt-4o",
        input=question("marker-plain"),
        output=answer("Sure 🙂"),
        instructions="Be kind.",
        tools=TOOLS,
        created_at=1.5,
    )
    on_server = Turn(
        id="on_server",
        parent_id="plain",
        api_type="responses",
        model="gpt-5",
        input=question("marker-on-server"),
        output=(),
        instructions="Be kind.",
        tools=TOOLS,
        server=OPENAI,
        stored_on_server=True,
        usage={"input_tokens": 3, "output_tokens": 4},
        created_at=2.5,
    )
    sampled = Turn(
        id="sampled",
        parent_id="plain",
        api_type="harmony",
        model="gpt-oss-20b",
        input=question("hi", origin="home", kept=True),
        output=answer('marker-sampled "kept":true \x00'),
        output_token_ids=[200_005, 0, 2**32 - 1],
        settings={"reasoning_effort": "low", "logit_bias": float("inf")},
        date="2026-11-20",
        created_at=3.5,
    )
    half_surrogate = Turn(
        id="half_surrogate",
        parent_id=None,
        api_type="chat",
        model="gpt-4o",
        input=question("marker-half \ud83d cut"),
        output=(),
        created_at=4.5,
    )
    long = Turn(
        id="long",
        parent_id="sampled",
        api_type="chat",
        model="gpt-4o",
        input=question("marker-long " + "é" * 3000),
        output=(),
        created_at=5.5,
    )
    secret = Turn(
        id="secret",
        parent_id="plain",
        api_type="chat",
        model="gpt-4o",
        input=(
            {
                "role": "user",
                "type": "message",
                "content": [{"type": "input_text", "text": "[redacted]"}],
            },
        ),
        output=(),
        # Version 1 did not say so.
        redacted=version >= 2,
        created_at=6.5,
    )
    full = Turn(
        id="full",
        parent_id="on_server",
        api_type="responses",
        model="gpt-5",
        input=question("marker-full"),
        output=(),
        status="incomplete",
        server=OPENAI,
        stored_on_server=True,
        usage={"input_tokens": 1},
        output_token_ids=[1, 2, 3],
        settings={"top_p": 0.5},
        date="2026-11-20",
        created_at=8.5,
    )
    if version >= 2:
        full = replace(
            full,
            redacted=True,
            incomplete_reason="max_output_tokens",
            error="boom",
            request_id="req_1",
            replay_reason="forgotten",
            warnings=("clipped",),
        )
    return [plain, on_server, sampled, half_surrogate, long, secret, full]


def copy_of(version: int, folder: Path) -> Path:
    path = folder / "turns.db"
    shutil.copy(FIXTURES / f"version_{version}.db", path)
    return path


def rows_of(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


# --- stores -----------------------------------------------------------------------------------


@OLD_VERSIONS
async def test_an_older_store_is_read(tmp_path: Path, version: int) -> None:
    """Every turn is as it was, under today's names, and the store works on."""
    path = copy_of(version, tmp_path)
    assert rows_of(path, "PRAGMA user_version") == [(version,)]
    store = SQLiteStore(path)
    assert await store.list() == turns_of(version)
    assert [turn.id for turn in await store.chain("full") or ()] == ["plain", "on_server", "full"]
    await store.put(make_turn("new", "full"))
    assert len(await store.chain("new") or ()) == 4
    await store.check()
    await store.aclose()
    assert rows_of(path, "PRAGMA user_version") == [(4,)]
    again = SQLiteStore(path)
    assert (await again.list())[:-1] == turns_of(version)
    await again.aclose()


@OLD_VERSIONS
async def test_a_migration_leaves_no_text_behind(tmp_path: Path, version: int) -> None:
    """Live text lies in the file once, so deleting it later gets all of it; the rest is zeros."""
    path = copy_of(version, tmp_path)
    unused = (
        "SELECT seq, CAST(text AS BLOB), token_ids FROM bodies WHERE seq NOT IN "
        "(SELECT content FROM turns) AND seq NOT IN (SELECT body FROM texts) ORDER BY seq"
    )
    blank_before = rows_of(path, unused)
    assert len(blank_before) == 3
    size = path.stat().st_size
    await SQLiteStore(path).aclose()
    content = path.read_bytes()
    for live in ("plain", "on-server", "sampled", "half", "long", "full"):
        assert content.count(f"marker-{live}".encode()) == 1, live
    for dead in ("secret", "deleted", "deleted-instructions"):
        assert f"marker-{dead}".encode() not in content
    assert b'"origin":"https' not in content
    blank_after = rows_of(path, unused)
    assert [row for row in blank_after if row in blank_before] == blank_before
    for _, text, token_ids in blank_after:
        assert not any(text)
        assert not any(token_ids or b"")
    # Only `full` had no room for the longer name.
    assert len(blank_after) == len(blank_before) + (version < 3)
    # The table and the two indexes of version 4 have a page each.
    assert path.stat().st_size == size + 3 * 4096


def test_an_older_store_is_not_changed_by_looking_at_it(tmp_path: Path) -> None:
    """Where nothing may be written, the error says what to do."""
    path = copy_of(2, tmp_path)
    before = path.read_bytes()
    with pytest.raises(StoreFormatError, match=r"older synth_ai.*open it once"):
        read_turns(path)
    assert path.read_bytes() == before


async def test_a_damaged_turn_does_not_keep_the_others_from_being_read(tmp_path: Path) -> None:
    """What cannot be read cannot be renamed, and is left for whoever can mend it."""
    path = copy_of(2, tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        content = "SELECT content FROM turns WHERE id ="
        for id, damage in (("plain", '{"cut'), ("long", "[]")):
            connection.execute(
                f"UPDATE bodies SET text = ? WHERE seq = ({content} '{id}')", (damage,)
            )
        not_text = "CAST(x'ff7b7d' AS TEXT)"
        connection.execute(f"UPDATE bodies SET text = {not_text} WHERE seq = ({content} 'secret')")
    store = SQLiteStore(path)
    expected = {turn.id: turn for turn in turns_of(2)}
    for id in ("on_server", "sampled", "half_surrogate", "full"):
        assert await store.get(id) == expected[id]
    for id in ("plain", "long"):
        with pytest.raises(StoreCorruptError, match=f"The turn '{id}' is damaged"):
            await store.get(id)
    await store.aclose()


def grow(path: Path, copies: int) -> int:
    """Fill an old store with copies of its turns, and return how many turns it has then."""
    rows = rows_of(
        path,
        "SELECT id, created_at, instructions, tools, text, token_ids FROM turns "
        "JOIN bodies ON bodies.seq = turns.content ORDER BY turns.seq",
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        for copy in range(copies):
            for id, created_at, instructions, tools, text, token_ids in rows:
                body = connection.execute(
                    "INSERT INTO bodies (text, token_ids) VALUES (?, ?)", (text, token_ids)
                ).lastrowid
                connection.execute(
                    "INSERT INTO turns (id, created_at, content, instructions, tools) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (f"{id}_{copy}", created_at, body, instructions, tools),
                )
    return len(rows) * (copies + 1)


OPEN_AND_DIE = """
import itertools, os, signal, sys
from synth_ai.store.sqlite import migrations, store

rename = migrations._rename_in_json
calls = itertools.count()

def rename_and_die(old_json):
    if next(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(old_json)

migrations._rename_in_json = rename_and_die
store.SQLiteStore(sys.argv[1])
"""


async def test_a_migration_that_is_killed_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """Most of the new pages are in the WAL by then, without a commit; the next one starts anew."""
    path = copy_of(2, tmp_path)
    turns = grow(path, 2000)
    everything = "SELECT * FROM turns JOIN bodies ON bodies.seq = turns.content ORDER BY turns.seq"
    before = rows_of(path, everything)
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_DIE, str(path), str(turns - 100)], env=ENVIRONMENT
    )
    assert done.returncode == -9
    wal = Path(f"{path}-wal")
    assert wal.stat().st_size > 5_000_000
    assert rows_of(path, "PRAGMA user_version") == [(2,)]
    assert rows_of(path, everything) == before
    store = SQLiteStore(path)
    migrated = await store.list()
    assert len(migrated) == turns
    assert migrated[:7] == turns_of(2)
    await store.check()
    await store.aclose()


OPEN_AND_WRITE = """
import asyncio, sys
from store.turns import make_turn
from synth_ai.store.sqlite.store import SQLiteStore

async def main():
    path, name, turns = sys.argv[1:]
    sys.stdin.readline()
    store = SQLiteStore(path)
    assert len(await store.list()) >= int(turns)
    await store.put(make_turn(name, "full"))
    assert len(await store.chain(name)) == 4
    await store.aclose()

asyncio.run(main())
"""


async def test_processes_that_open_an_older_store_at_once(tmp_path: Path) -> None:
    """One of them migrates it, the others wait, and all of them work."""
    path = copy_of(2, tmp_path)
    turns = grow(path, 500)
    bodies = rows_of(path, "SELECT count(*) FROM bodies")[0][0]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_WRITE, str(path), f"writer_{n}", str(turns)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        for n in range(3)
    ]
    # Started first and let go together, so that the imports are behind them.
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 3
    store = SQLiteStore(path)
    assert len(await store.list()) == turns + 3
    await store.check()
    await store.aclose()
    # A second migration would have found no room again: `full` and its copies got one new body
    # each.
    assert rows_of(path, "SELECT count(*) FROM bodies") == [(bodies + 501 + 3,)]


async def test_a_store_of_the_next_version_is_refused(tmp_path: Path) -> None:
    """The sentence says what wrote it and what to do, and the file keeps its bytes."""
    path = tmp_path / "turns.db"
    await SQLiteStore(path).aclose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=5")
    before = path.read_bytes()
    sentence = r"written by a newer synth_ai \(schema 5; .* up to 4\).*left as it is: upgrade"
    with pytest.raises(StoreFormatError, match=sentence):
        SQLiteStore(path)
    with pytest.raises(StoreFormatError, match="upgrade synth-ai"):
        read_turns(path)
    assert path.read_bytes() == before


# --- exports ----------------------------------------------------------------------------------


@OLD_VERSIONS
async def test_an_older_export_is_read(version: int) -> None:
    """The same turns as the store of that version has."""
    path = FIXTURES / f"version_{version}.jsonl"
    store = MemoryStore()
    assert await import_turns(store, path) == 7
    assert await store.list() == turns_of(version)


@pytest.mark.parametrize(
    ("version", "old", "new", "what"),
    [
        (2, '"version":2', '"version":3', r"Line 2 .* it has kept, origin, which no turn has"),
        (2, '"kept"', '"stored_on_server"', "it has stored_on_server, which no turn has"),
        (1, '"kept":true', '"kept":"yes"', "its stored_on_server is 'yes'"),
        (
            2,
            '"version":2',
            '"version":5',
            r"newer synth_ai \(version 5 .* up to 4\): upgrade synth-ai\. Nothing was imported",
        ),
        (2, '"version":2', '"version":"2"', "not the header"),
    ],
)
def test_an_export_has_the_names_of_its_version(
    version: int, old: str, new: str, what: str
) -> None:
    """What was edited by hand, or comes from a later version, is not guessed at."""
    text = (FIXTURES / f"version_{version}.jsonl").read_text()
    assert old in text
    with pytest.raises(StoreImportError, match=what):
        from_lines(text.replace(old, new).split("\n")[:-1])
