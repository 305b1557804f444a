"""What holds for the PostgreSQL store alone: servers that come and go, many processes, secrets.

What it has in common with every store is in `test_every_store`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from servers.openai_fake import OpenAIServer
from servers.postgres import PostgreSQLServer
from store.turns import make_chain, make_turn
from synth_ai import LM
from synth_ai.errors import (
    OptionError,
    StoreConflictError,
    StoreError,
    StoreFormatError,
    StoreUnavailableError,
)
from synth_ai.store.open import open_store

psycopg = pytest.importorskip("psycopg")

from synth_ai.store.postgres.schema import MIGRATIONS  # noqa: E402
from synth_ai.store.postgres.store import PostgreSQLStore  # noqa: E402

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgreSQLStore]:
    opened = PostgreSQLStore(postgres_url)
    yield opened
    await opened.aclose()


# --- opening ------------------------------------------------------------------------------------


async def test_a_second_store_reads_what_the_first_one_wrote(postgres_url: str) -> None:
    first, second = PostgreSQLStore(postgres_url), PostgreSQLStore(postgres_url)
    turns = make_chain(3)
    for turn in turns:
        await first.put(turn)

    assert await second.chain("turn_2") == turns

    await first.aclose()
    assert await second.list() == turns
    await second.aclose()


async def test_stores_that_start_at_once_make_the_tables_once(postgres_url: str) -> None:
    stores = [PostgreSQLStore(postgres_url) for _ in range(8)]

    await asyncio.gather(*(store.put(make_turn(f"turn_{n}")) for n, store in enumerate(stores)))

    assert len(await stores[0].list()) == 8
    await asyncio.gather(*(store.aclose() for store in stores))


async def test_tables_of_a_newer_version_are_refused_and_left_alone(
    postgres_url: str, store: PostgreSQLStore
) -> None:
    await store.put(make_turn("turn"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE synth_ai_schema SET version = version + 1")

    newer = PostgreSQLStore(postgres_url)
    with pytest.raises(StoreFormatError, match=f"schema {len(MIGRATIONS) + 1}; .*upgrade"):
        await newer.get("turn")
    await newer.aclose()

    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM synth_ai_turns").fetchone() == (1,)


async def test_tables_of_another_program_are_an_error_that_says_what_to_do(
    postgres_url: str,
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE synth_ai_turns (id INTEGER)")

    store = PostgreSQLStore(postgres_url)
    with pytest.raises(StoreFormatError, match=r"(?s)other tables .*search_path"):
        await store.get("turn")
    await store.aclose()


@pytest.mark.parametrize(
    "url", ["postgresql://ada:hush@h/db?nonsense=1", "postgres://ada:hush@%zz/db"]
)
def test_a_url_that_cannot_be_read_is_refused_at_once_without_its_password(url: str) -> None:
    with pytest.raises(OptionError, match="cannot be read") as caught:
        open_store(url)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("options", [{"timeout": 0}, {"max_connections": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="not 0"):
        PostgreSQLStore("postgresql://localhost/db", **options)  # type: ignore[arg-type]


async def test_a_server_that_is_not_there_is_an_error_that_shows_no_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    store = PostgreSQLStore("postgresql://ada:hush@127.0.0.1:1/db", timeout=2)

    with pytest.raises(StoreUnavailableError, match="refused") as caught:
        await store.get("turn")

    shown = f"{caught.value} {caught.value.__cause__} {store!r} {caplog.text}"
    assert "hush" not in shown
    assert "127.0.0.1" in str(caught.value)
    await store.aclose()


async def test_a_database_that_is_not_there_names_what_to_look_at(
    postgres_server: PostgreSQLServer,
) -> None:
    store = PostgreSQLStore(postgres_server.url("nowhere"))
    with pytest.raises(StoreUnavailableError, match='"nowhere" does not exist'):
        await store.get("turn")
    await store.aclose()


async def test_a_closed_store_says_so(store: PostgreSQLStore) -> None:
    await store.put(make_turn("turn"))
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreError, match="is closed; open it again"):
        await store.get("turn")


# --- a server that comes and goes -----------------------------------------------------------------


async def test_a_server_that_was_restarted_needs_no_restart_of_ours(
    postgres_server: PostgreSQLServer, store: PostgreSQLStore
) -> None:
    await store.put(make_turn("before"))

    await asyncio.to_thread(postgres_server.restart)

    await store.put(make_turn("after", "before"))
    chain = await store.chain("after")
    assert [turn.id for turn in chain or ()] == ["before", "after"]


async def test_a_server_that_is_down_is_an_error_and_the_next_call_works(
    postgres_server: PostgreSQLServer, postgres_url: str
) -> None:
    store = PostgreSQLStore(postgres_url, timeout=2)
    await store.put(make_turn("before"))

    await asyncio.to_thread(postgres_server.stop)
    try:
        with pytest.raises(StoreUnavailableError, match="Try again"):
            await store.put(make_turn("lost"))
    finally:
        await asyncio.to_thread(postgres_server.start)

    await store.put(make_turn("after"))
    assert [turn.id for turn in await store.list()] == ["before", "after"]
    await store.aclose()


async def test_a_restart_under_load_loses_no_turn_that_was_said_to_be_stored(
    postgres_server: PostgreSQLServer, store: PostgreSQLStore
) -> None:
    stored: set[str] = set()
    failed: list[StoreError] = []
    is_over = asyncio.Event()

    async def write(name: str) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            turn = make_turn(f"{name}_{number}")
            try:
                await store.put(turn)
            except StoreError as error:
                failed.append(error)
            else:
                stored.add(turn.id)

    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(write(name))
        for mode in ("fast", "immediate"):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(postgres_server.restart, mode)
        stored_before = len(stored)
        await asyncio.sleep(1)
        is_over.set()

    assert len(stored) > stored_before
    assert stored <= {turn.id for turn in await store.list()}
    assert all("hush" not in str(error) for error in failed)


# --- at once ------------------------------------------------------------------------------------


async def test_two_that_claim_one_id_for_different_branches_leave_one(
    store: PostgreSQLStore,
) -> None:
    claims = [store.put(make_turn("turn", f"parent_{n}")) for n in range(20)]

    outcomes = await asyncio.gather(*claims, return_exceptions=True)

    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == 19
    assert all(isinstance(error, StoreConflictError) for error in refused)


async def test_shared_texts_survive_deletes_beside_puts(store: PostgreSQLStore) -> None:
    """A text that one deletes as unused while another writes a turn with it."""

    async def come_and_go(name: str) -> None:
        for number in range(15):
            turn = make_turn(f"{name}_{number}", instructions="You are terse.")
            await store.put(turn)
            stored = await store.get(turn.id)
            assert stored is not None
            assert stored.instructions == "You are terse."
            await store.delete(turn.id)

    await asyncio.gather(*(come_and_go(name) for name in "abcdefgh"))
    assert await store.list() == []


async def test_a_put_whose_caller_is_cancelled_is_whole_or_not_there(
    store: PostgreSQLStore,
) -> None:
    await store.put(make_turn("first"))
    for number in range(50):
        task = asyncio.create_task(store.put(make_turn(f"turn_{number}", "first")))
        await asyncio.sleep(0.0005 * (number % 5))
        task.cancel()
        await asyncio.wait([task])

    last = make_turn("last", "first")
    await store.put(last)
    assert await store.get("last") == last
    for turn in await store.list():
        assert turn.parent_id in ("first", None)


def test_eight_processes_lose_no_turn(postgres_url: str) -> None:
    names = [f"writer_{number}" for number in range(8)]
    command = [sys.executable, str(TESTS / "store" / "writers.py"), "many", postgres_url]
    writers = [
        subprocess.Popen([*command, name, "power-loss", "50"], stdout=subprocess.DEVNULL)
        for name in names
    ]
    assert [writer.wait(240) for writer in writers] == [0] * 8

    turns = asyncio.run(read_all(postgres_url))

    assert len(turns) == len(set(turns)) == 8 * 50
    assert set(turns) == {f"{name}_{number}" for name in names for number in range(50)}


async def read_all(url: str) -> list[str]:
    store = PostgreSQLStore(url)
    try:
        return [turn.id for turn in await store.list()]
    finally:
        await store.aclose()


def test_killed_writers_leave_every_turn_that_they_reported(postgres_url: str) -> None:
    command = [sys.executable, str(TESTS / "store" / "writers.py"), "crash", postgres_url]
    reported: set[str] = set()
    for name in ("a", "b", "c"):
        writer = subprocess.Popen([*command, name, "power-loss"], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(20)]
        writer.kill()
        lines += writer.stdout.readlines()
        writer.wait(30)
        writer.stdout.close()
        reported |= {f"{name}_{line.strip()}" for line in lines if line.endswith("\n")}

    assert len(reported) >= 60
    assert reported <= set(asyncio.run(read_all(postgres_url)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_connects_anew_and_leaves_its_parent_s_connections(
    postgres_url: str,
) -> None:
    script = f"""
import asyncio, os
from store.turns import make_turn
from synth_ai.store.postgres.store import PostgreSQLStore

store = PostgreSQLStore({postgres_url!r})
asyncio.run(store.put(make_turn("parent")))
pid = os.fork()
if pid == 0:
    asyncio.run(store.put(make_turn("child", "parent")))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
asyncio.run(store.put(make_turn("later", "child")))
print([turn.id for turn in asyncio.run(store.list())])
asyncio.run(store.aclose())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.stdout == "['parent', 'child', 'later']\n", done.stderr


# --- in use -------------------------------------------------------------------------------------


def test_an_lm_continues_what_another_one_began(
    postgres_url: str, openai_server: OpenAIServer
) -> None:
    def make_lm(api: str) -> LM:
        return LM(
            "gpt-5",
            api=api,
            base_url=openai_server.base_url,
            api_key=openai_server.api_key,
            response_store=postgres_url,
        )

    with make_lm("responses") as one:
        first = one.respond("My name is Ada.")
    with make_lm("chat") as other:
        second = other.respond("And now?", previous_response_id=first.response_id)
        assert second.replayed or second.previous_response_id == first.response_id
        listed = other.responses.list()

    assert [response.response_id for response in listed] == [first.response_id, second.response_id]


def test_many_threads_share_a_store(postgres_url: str) -> None:
    store = PostgreSQLStore(postgres_url)

    def write(name: str) -> None:
        for number in range(10):
            asyncio.run(store.put(make_turn(f"{name}_{number}")))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(asyncio.run(store.list())) == 40
    asyncio.run(store.aclose())


def test_a_store_that_nobody_closes_ends_with_the_program_without_a_word(
    postgres_url: str,
) -> None:
    script = f"""
import asyncio
from store.turns import make_turn
from synth_ai.store.postgres.store import PostgreSQLStore

store = PostgreSQLStore({postgres_url!r})
asyncio.run(store.put(make_turn("turn")))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
