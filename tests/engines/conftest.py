"""Prompts for the tiny gpt-oss, as token ids, and ways to look at an engine's processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from synth_ai import VLLMEngine

# <|return|>, <|call|>
STOPS = (200002, 200012)


@cache
def _encoding() -> Any:
    import openai_harmony

    return openai_harmony.load_harmony_encoding(openai_harmony.HarmonyEncodingName.HARMONY_GPT_OSS)


@pytest.fixture(scope="session")
def prompt_of() -> Callable[..., list[int]]:
    """Renders user messages, with the answers between them, as a prompt for the next answer."""
    import openai_harmony as harmony

    def render(*texts: str) -> list[int]:
        roles = (harmony.Role.USER, harmony.Role.ASSISTANT)
        messages = [
            harmony.Message.from_role_and_content(harmony.Role.SYSTEM, harmony.SystemContent.new())
        ]
        for number, text in enumerate(texts):
            message = harmony.Message.from_role_and_content(roles[number % 2], text)
            messages.append(message.with_channel("final") if number % 2 else message)
        conversation = harmony.Conversation.from_messages(messages)
        ids: list[int] = _encoding().render_conversation_for_completion(
            conversation, harmony.Role.ASSISTANT
        )
        return ids

    return render


@pytest.fixture(scope="session")
def text_of() -> Callable[[Any], str]:
    """Decodes token ids."""
    return lambda ids: str(_encoding().decode(list(ids)))


# Idle engines still take a share of the processor, so this one goes with the tests that need it.
@pytest.fixture(scope="package")
def tiny_llm(tiny_model: Path, tiny_engine_args: dict[str, Any]) -> Iterator[Any]:
    """The tiny gpt-oss as a `vllm.LLM`, as a user would make one."""
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    from vllm import LLM

    llm = LLM(str(tiny_model), prefix_cache_retention_interval=None, **tiny_engine_args)
    yield llm
    llm.llm_engine.engine_core.shutdown()


@pytest.fixture(scope="package")
def tiny_offline_engine(tiny_llm: Any) -> Iterator[VLLMEngine]:
    """That LLM as an engine."""
    engine = VLLMEngine.from_llm(tiny_llm)
    yield engine
    engine.close()


@pytest.fixture(params=["AsyncLLM", "LLM"])
def vllm_engine(request: pytest.FixtureRequest) -> VLLMEngine:
    """The tiny gpt-oss in this process, both ways."""
    name = {"AsyncLLM": "tiny_engine", "LLM": "tiny_offline_engine"}[request.param]
    engine: VLLMEngine = request.getfixturevalue(name)
    return engine


class Processes:
    """The engine processes of this test's process."""

    def __init__(self) -> None:
        import psutil

        self._me = psutil.Process()
        self._before = set(self._cores())

    def _cores(self) -> list[Any]:
        import psutil

        found = []
        for process in self._me.children(recursive=True):
            try:
                if process.name().startswith("VLLM::") and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                pass
        return found

    def started(self) -> list[Any]:
        """Those that were started since this object was made and are still there."""
        return [process for process in self._cores() if process not in self._before]

    def core(self) -> Any:
        """The one engine core among them."""
        (core,) = [process for process in self.started() if process.ppid() == os.getpid()]
        return core


@pytest.fixture
def processes() -> Processes:
    """Looks at the engine processes that the test starts."""
    return Processes()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def until() -> Callable[[Callable[[], bool], float], bool]:
    """Waits for a condition that other processes bring about."""
    return wait_until
