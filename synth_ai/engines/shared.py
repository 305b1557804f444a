"""One engine per process for everyone who asks for the same model with the same arguments."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from synth_ai.engines.base import Engine, EngineFacts, Sampling, TokenDelta
from synth_ai.engines.model_names import canonical_name
from synth_ai.errors import EngineDeadError, OptionError

EngineFactory: TypeAlias = Callable[..., Engine]
"""A class or function that makes an engine, called as `factory(model, **engine_args)`.

It must return at once: the model is loaded at the engine's first use.
"""


class _SharedEntry:
    """An engine, what it was made from, and how many shares of it there are."""

    def __init__(
        self, factory: EngineFactory, model: str, engine_args: Mapping[str, object]
    ) -> None:
        self.key = (factory, canonical_name(model))
        self.engine_args = dict(engine_args)
        self.engine = _make_engine(factory, model, engine_args)
        self.shares = 0


# Reentrant, because a share may be collected, and so given back, while its thread has the lock.
_lock = threading.RLock()
_entries: list[_SharedEntry] = []


def shared_engine(
    factory: EngineFactory,
    model: str | os.PathLike[str],
    *,
    new_engine: bool = False,
    **engine_args: object,
) -> SharedEngine:
    """Return a share in the engine for this model and these arguments, made if there is none yet.

    The engine stops when the last share is closed or collected, and at the end of the program. One
    that has died is loaded again, for everyone who has a share, at the first call after somebody
    has asked for a share in it.

    Args:
        factory: makes the engine; an engine class such as `VLLMEngine`, or a function.
        model: the name or folder of the model, as the factory takes it.
        new_engine: allow a second engine if the model is already in use with other arguments.
        engine_args: the other arguments of the factory.

    Raises:
        OptionError: the model is in use with other arguments (the message says which), or the
            factory does not return an engine.
    """
    name = os.fspath(model)
    # Engines of other factories are left alone: what they load may differ in more than arguments.
    key = (factory, canonical_name(name))
    with _lock:
        entries = [entry for entry in _entries if entry.key == key]
        entry = _find_equal(entries, engine_args)
        if entry is None:
            if entries and not new_engine:
                raise _conflict_error(name, entries[0].engine_args, engine_args)
            entry = _SharedEntry(factory, name, engine_args)
            _entries.append(entry)

        # Counted before anything else is done: a garbage collection in here may give back the only
        # other share, which would close the engine.
        entry.shares += 1
        share = SharedEngine(entry)

        entry.engine.drop_if_dead()
        return share


class SharedEngine(Engine):
    """A share in an engine; closing the last share closes the engine. Made by `shared_engine`.

    Attributes:
        engine: the engine itself.
    """

    def __init__(self, entry: _SharedEntry) -> None:
        self.model = entry.engine.model
        self.engine = entry.engine
        self._entry = entry
        self._finalizer = weakref.finalize(self, _finalize_share, entry)
        # At the end of the program the engine stops by itself.
        self._finalizer.atexit = False

    async def facts(self) -> EngineFacts:
        self._check_open()
        return await self.engine.facts()

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        self._check_open()
        return self.engine.generate(prompt, sampling, stream=stream)

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]
    ) -> list[TokenDelta]:
        self._check_open()
        return await self.engine.generate_batch(prompts, sampling)

    def for_batch(self, count: int) -> Engine:
        batch_engine = self.engine.for_batch(count)
        return self if batch_engine is self.engine else batch_engine

    async def restart(self) -> None:
        """Stop the engine and load it again, for everyone who has a share in it."""
        self._check_open()
        await self.engine.restart()

    def drop_if_dead(self) -> bool:
        return self.engine.drop_if_dead()

    def close(self, *, wait: bool = True) -> None:
        """Give this share back; the last one stops the engine.

        Args:
            wait: if it was the last share, return when the engine has stopped.
        """
        if self._give_back():
            self.engine.close(wait=wait)

    async def aclose(self) -> None:
        """Give this share back; the last one stops the engine."""
        if self._give_back():
            await self.engine.aclose()

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise EngineDeadError("This share of the engine was closed; ask for a new one.")

    def _give_back(self) -> bool:
        """Give this share back, once; return whether it was the engine's last one."""
        if self._finalizer.detach() is None:
            return False
        return _remove_share(self._entry)


def _make_engine(factory: EngineFactory, model: str, engine_args: Mapping[str, object]) -> Engine:
    engine = factory(model, **engine_args)
    if not isinstance(engine, Engine):
        name = getattr(factory, "__qualname__", repr(factory))
        raise OptionError(f"The engine factory {name} must return an Engine, not {engine!r}.")
    return engine


def _find_equal(
    entries: Iterable[_SharedEntry], engine_args: Mapping[str, object]
) -> _SharedEntry | None:
    for entry in entries:
        if entry.engine_args == engine_args:
            return entry
    return None


def _finalize_share(entry: _SharedEntry) -> None:
    """Give back a share that nobody refers to any more; a garbage collection must not wait."""
    if _remove_share(entry):
        entry.engine.close(wait=False)


def _remove_share(entry: _SharedEntry) -> bool:
    """Count a share out; return whether it was the last one, so that the engine is to be closed."""
    with _lock:
        entry.shares -= 1
        if entry.shares > 0:
            return False
        _entries.remove(entry)
        return True


class _NotSet:
    """In the place of an argument that was not given."""

    def __repr__(self) -> str:
        return "not set"


_NOT_SET = _NotSet()


def _conflict_error(
    model: str, loaded_args: Mapping[str, object], engine_args: Mapping[str, object]
) -> OptionError:
    """Make the error that a model is in use with other arguments, which names those that differ."""
    differences = []
    for name in sorted(loaded_args.keys() | engine_args.keys()):
        there = loaded_args.get(name, _NOT_SET)
        here = engine_args.get(name, _NOT_SET)
        if there != here:
            differences.append(f"{name}: {there!r} there, {here!r} here")

    return OptionError(
        f"{model!r} is in use in this process with other engine arguments "
        f"({'; '.join(differences)}). Use the same ones to share that engine, close it first, or "
        "pass new_engine=True among them to load the model a second time."
    )
