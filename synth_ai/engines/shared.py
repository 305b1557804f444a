"""One engine per process for everyone who asks for the same model with the same arguments."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from synth_ai.engines.base import Engine, EngineFacts, Sampling, TokenDelta
from synth_ai.engines.model_names import ModelSource, locate_model
from synth_ai.engines.vllm.engine import VLLMEngine
from synth_ai.errors import EngineDeadError, OptionError


class _Entry:
    """An engine and how many hold it."""

    def __init__(self, model: str, engine_args: Mapping[str, Any]) -> None:
        self.engine_args = dict(engine_args)
        self.engine = VLLMEngine(model, **engine_args)
        self.holders = 0


# Reentrant, because a handle may be collected, and so released, while its thread is in here.
_lock = threading.RLock()
_entries: dict[ModelSource, list[_Entry]] = {}


def shared_engine(
    model: str | os.PathLike[str], *, new_engine: bool = False, **engine_args: Any
) -> SharedEngine:
    """A share in the engine for this model and these arguments, made if nobody has one yet.

    The engine stops when the last share is closed or collected, and at the end of the program. One that has died is
    loaded again, for everyone who holds a share, at the first call after somebody has asked for a share in it.

    Args:
        model: as for `VLLMEngine`.
        new_engine: allow a second engine where the model is already loaded with other arguments.
        engine_args: as for `VLLMEngine`.

    Raises:
        OptionError: the model is in use with other arguments; the message says which.
        MissingExtraError: vLLM is not installed.
    """
    source = locate_model(model)
    with _lock:
        entries = _entries.setdefault(source, [])
        entry = next((entry for entry in entries if entry.engine_args == engine_args), None)
        if entry is None:
            if entries and not new_engine:
                raise OptionError(
                    _difference(os.fspath(model), entries[0].engine_args, engine_args)
                )
            entry = _Entry(os.fspath(model), engine_args)
            entries.append(entry)
        entry.engine.drop_if_dead()
        entry.holders += 1
    return SharedEngine(source, entry)


class SharedEngine(Engine):
    """A share in an engine; closing it closes the engine if it was the last one. Made by `shared_engine`.

    Attributes:
        engine: the engine itself.
    """

    def __init__(self, source: ModelSource, entry: _Entry) -> None:
        self.model = entry.engine.model
        self.engine = entry.engine
        self._release = weakref.finalize(self, _release, source, entry, wait=False)
        # At exit the engine stops by itself.
        self._release.atexit = False

    async def facts(self) -> EngineFacts:
        return await self._held().facts()

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, stream: bool = False
    ) -> AsyncGenerator[TokenDelta, None]:
        return self._held().generate(prompt, sampling, stream=stream)

    async def generate_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]
    ) -> list[TokenDelta]:
        """As `VLLMEngine.generate_batch`."""
        return await self._held().generate_batch(prompts, sampling)

    async def restart(self) -> None:
        """As `VLLMEngine.restart`, for everyone who holds a share."""
        await self._held().restart()

    def close(self) -> None:
        """Give this share back; the last one stops the engine and returns when its processes are gone."""
        released = self._release.detach()
        if released is not None:
            _, _, (source, entry), _ = released
            _release(source, entry, wait=True)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def _held(self) -> VLLMEngine:
        if not self._release.alive:
            raise EngineDeadError("This share of the engine was closed; ask for a new one.")
        return self.engine


def _release(source: ModelSource, entry: _Entry, *, wait: bool) -> None:
    with _lock:
        entry.holders -= 1
        if entry.holders:
            return
        entries = _entries[source]
        entries.remove(entry)
        if not entries:
            del _entries[source]
    entry.engine.close(wait=wait)


def _difference(model: str, loaded: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    names = sorted(
        name for name in loaded.keys() | asked.keys() if loaded.get(name) != asked.get(name)
    )
    differences = "; ".join(
        f"{name}: {_shown(loaded, name)} there, {_shown(asked, name)} here" for name in names
    )
    return (
        f"{model!r} is in use in this process with other engine arguments ({differences}). Use the same ones to share "
        "that engine, close it first, or pass new_engine=True among them to load the model a second time."
    )


def _shown(engine_args: Mapping[str, Any], name: str) -> str:
    return repr(engine_args[name]) if name in engine_args else "not set"
