"""What is special to vLLM in this process: its construction, its load, its death and its end."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest

from synth_ai import LM, VLLMEngine
from synth_ai.engines.base import Sampling, TokenDelta
from synth_ai.engines.gpus import find_gpus
from synth_ai.errors import (
    EngineDeadError,
    EngineRequestError,
    EngineStartError,
    MissingExtraError,
    OptionError,
)

STOPS = (200002, 200012)
GREEDY = Sampling(temperature=0, stop_token_ids=STOPS)
needs_vllm = pytest.mark.vllm

Until = Callable[[Callable[[], bool], float], bool]


async def complete(
    engine: VLLMEngine, prompt: list[int], sampling: Sampling = GREEDY
) -> TokenDelta:
    """The only delta of a completion that is not streamed."""
    (delta,) = [delta async for delta in engine.generate(prompt, sampling)]
    return delta


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm() -> None:
    """Without vLLM the error says what to install."""
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[vllm\]"'):
        VLLMEngine("gpt-oss-20b")


@needs_vllm
def test_construction_is_cheap() -> None:
    """Making an engine imports neither vLLM nor torch and starts nothing."""
    code = (
        "import sys, threading; from synth_ai import VLLMEngine;"
        "VLLMEngine('gpt-oss-20b', max_model_len=4096);"
        "heavy = [name for name in ('vllm', 'torch', 'transformers') if name in sys.modules];"
        "print(heavy, threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1\n"


@needs_vllm
def test_unknown_engine_argument() -> None:
    """A misspelt engine argument is refused when the engine is made, with the nearest name."""
    with pytest.raises(
        OptionError, match=r"no engine argument 'max_model_length'\. Did you mean 'max_model_len'\?"
    ):
        VLLMEngine("gpt-oss-20b", max_model_length=4096)


@needs_vllm
def test_engine_arguments_are_vllms_own() -> None:
    """The names read from vLLM's source are those of its dataclass."""
    import dataclasses

    from vllm import AsyncEngineArgs

    from synth_ai.engines.vllm.args import read_engine_arg_names

    assert read_engine_arg_names() == {field.name for field in dataclasses.fields(AsyncEngineArgs)}


@needs_vllm
@pytest.mark.parametrize(
    ("config", "named"),
    [
        (None, "no config.json"),
        ("{", "is not JSON"),
        ("[]", "not a JSON object"),
        ('{"model_type": "llama"}', "'llama'"),
    ],
)
def test_folder_without_a_model(tmp_path: Path, config: str | None, named: str) -> None:
    """A folder without a gpt-oss is refused when the engine is made; the error says why."""
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(OptionError, match=named):
        VLLMEngine(tmp_path)


@needs_vllm
@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/no-such-model", "a/b/c"])
def test_folder_that_does_not_exist(name: str) -> None:
    """A path to nowhere is not taken for a name on the hub."""
    with pytest.raises(OptionError, match="does not exist"):
        VLLMEngine(name)


@needs_vllm
@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("gpt-oss-20b", "openai/gpt-oss-20b"),
        ("gpt-oss-120b", "openai/gpt-oss-120b"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        ("someone/gpt-oss-tuned", "someone/gpt-oss-tuned"),
    ],
)
def test_model_names(name: str, loaded: str) -> None:
    """Short names get their prefix for vLLM and stay as they were given for the user."""
    engine = VLLMEngine(name)
    assert (engine.model, engine.plan.source.model) == (name, loaded)


@needs_vllm
def test_adapter_folder(tmp_path: Path, tiny_model: Path) -> None:
    """The folder of an adapter names its base model; vLLM is told of it, with room for its rank."""
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tiny_model), "r": 12})
    )
    plan = VLLMEngine(tmp_path).plan
    assert (plan.source.model, plan.source.adapter) == (str(tiny_model), str(tmp_path))
    assert plan.settings().engine_args["max_lora_rank"] == 16
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(OptionError, match="base_model_name_or_path"):
        VLLMEngine(tmp_path)


@needs_vllm
@pytest.mark.gpu
@pytest.mark.skipif(not find_gpus(), reason="vLLM runs LoRA adapters on a GPU only")
async def test_adapter_changes_the_answer(
    tmp_path: Path,
    tiny_model: Path,
    tiny_engine: VLLMEngine,
    tiny_engine_args: dict[str, Any],
    prompt_of: Any,
) -> None:
    """A LoRA adapter runs on top of its base model."""
    import torch
    from safetensors.torch import save_file

    config = {
        "base_model_name_or_path": str(tiny_model),
        "r": 8,
        "lora_alpha": 64,
        "peft_type": "LORA",
    }
    config |= {"target_modules": ["o_proj"], "task_type": "CAUSAL_LM", "bias": "none"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    weights = {}
    for layer in range(4):
        name = f"base_model.model.model.layers.{layer}.self_attn.o_proj.lora"
        weights |= {
            f"{name}_A.weight": torch.randn(8, 128),
            f"{name}_B.weight": torch.randn(128, 8),
        }
    save_file(weights, tmp_path / "adapter_model.safetensors")
    engine = VLLMEngine(tmp_path, **tiny_engine_args)
    sampling = Sampling(temperature=0, max_tokens=5, logprobs=0)
    tuned = await complete(engine, prompt_of("Hello!"), sampling)
    await engine.aclose()
    plain = await complete(tiny_engine, prompt_of("Hello!"), sampling)
    assert tuned.logprobs is not None
    assert plain.logprobs is not None
    assert tuned.logprobs[0].logprob != pytest.approx(plain.logprobs[0].logprob, abs=1e-3)


@needs_vllm
def test_defaults_give_way(tiny_model: Path) -> None:
    """Our defaults are vLLM's arguments, and the user's value beats ours."""
    assert (
        VLLMEngine(tiny_model).plan.settings().engine_args["prefix_cache_retention_interval"]
        is None
    )
    engine = VLLMEngine(tiny_model, prefix_cache_retention_interval=0, disable_log_stats=False)
    settings = engine.plan.settings().engine_args
    assert settings["prefix_cache_retention_interval"] == 0
    assert settings["disable_log_stats"] is False


@needs_vllm
async def test_failed_load(
    tiny_model: Path, tiny_engine_args: dict[str, Any], processes: Any
) -> None:
    """A failed load says why to everyone who waits, leaves no process, and can be tried again."""
    engine = VLLMEngine(tiny_model, **tiny_engine_args | {"max_model_len": -7})
    first = await asyncio.gather(*(engine.facts() for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in first] == [EngineStartError] * 3
    assert "max_model_len" in str(first[0])
    with pytest.raises(EngineStartError, match="max_model_len") as second:
        await engine.start()
    assert second.value is not first[0]
    assert processes.started() == []


@needs_vllm
async def test_cache_too_small(
    tiny_model: Path, tiny_engine_args: dict[str, Any], processes: Any
) -> None:
    """If only the log of vLLM's process has the cause, the error names it and what to change."""
    engine = VLLMEngine(tiny_model, **tiny_engine_args | {"kv_cache_memory_bytes": 1})
    with pytest.raises(
        EngineStartError, match=r"log above, on stdout.*lower gpu_memory_utilization"
    ) as error:
        await engine.start()
    _, last_lines = str(error.value).split("The last lines of its log:")
    assert "No available memory for the cache blocks." in last_lines
    assert "increasing" not in str(error.value)
    assert processes.started() == []


@needs_vllm
async def test_death_and_restart(
    tiny_model: Path,
    tiny_engine_args: dict[str, Any],
    prompt_of: Any,
    processes: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """kill -9 of the engine fails all calls at once, later ones too, and a restart serves again."""
    engine = VLLMEngine(tiny_model, **tiny_engine_args)
    # Concurrent first callers share one load, which is no part of the time of a call.
    lm = LM("gpt-oss-20b", engine=engine, timeout=8, max_tokens=1)
    await asyncio.gather(
        *(engine.facts(), engine.start(), complete(engine, prompt_of("Hello!"))),
        lm.respond_async("Hello!"),
    )
    core = processes.core()
    endless = Sampling(temperature=0, max_tokens=4000)
    calls = [
        asyncio.create_task(complete(engine, prompt_of("Tell me a story."), endless))
        for _ in range(64)
    ]
    await asyncio.sleep(0.2)
    core.kill()
    before = time.monotonic()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - before < 10
    assert {type(result) for result in results} == {EngineDeadError}
    assert "its log on stdout says more" in str(results[0])
    with pytest.raises(EngineDeadError, match=r"engine\.restart\(\)"):
        await complete(engine, prompt_of("Hello!"))

    await engine.restart()
    said = [record.getMessage() for record in caplog.records if record.name == "synth_ai"]
    assert "is restarted" in said[0]
    assert "is loading" in said[1]
    assert "is loaded again" in said[-1]
    assert (await complete(engine, prompt_of("Hello!"))).finish_reason == "stop"
    running = asyncio.create_task(complete(engine, prompt_of("Tell me a story."), endless))
    await asyncio.sleep(0.1)
    await engine.aclose()
    await engine.aclose()
    assert processes.started() == []
    with pytest.raises(EngineDeadError, match="closed while"):
        await running
    with pytest.raises(EngineDeadError, match="was closed"):
        await complete(engine, prompt_of("Hello!"))


@needs_vllm
async def test_closing_while_it_loads(
    tiny_model: Path, tiny_engine_args: dict[str, Any], processes: Any, until: Until
) -> None:
    """Closing during the load ends the load, tells the waiting callers, and leaves no process."""
    engine = VLLMEngine(tiny_model, **tiny_engine_args)
    loading = asyncio.create_task(engine.start())
    assert await asyncio.to_thread(until, processes.started, 60)
    await engine.aclose()
    with pytest.raises(EngineStartError, match="closed while it was loading"):
        await loading
    assert processes.started() == []


@needs_vllm
async def test_engine_that_nobody_holds(
    tiny_model: Path, tiny_engine_args: dict[str, Any], processes: Any, until: Until
) -> None:
    """An engine that is dropped without being closed gives its memory back."""
    engine = VLLMEngine(tiny_model, **tiny_engine_args)
    await engine.start()
    assert processes.started()
    del engine
    gc.collect()
    assert await asyncio.to_thread(until, lambda: not processes.started(), 30)


@needs_vllm
async def test_batch_goes_through_generate(
    tiny_llm: Any, tiny_offline_engine: VLLMEngine, prompt_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch on an idle engine is one LLM.generate; calls that come meanwhile are served right."""
    batches: list[int] = []
    original = tiny_llm.generate

    def counting(prompts: list[Any], *args: Any, **options: Any) -> Any:
        batches.append(len(prompts))
        return original(prompts, *args, **options)

    monkeypatch.setattr(tiny_llm, "generate", counting)
    prompt = prompt_of("Tell me a story.")
    expected = (await complete(tiny_offline_engine, prompt)).token_ids
    batch = asyncio.create_task(tiny_offline_engine.generate_batch([prompt] * 3, GREEDY))
    await asyncio.sleep(0.05)
    call = await complete(tiny_offline_engine, prompt)
    assert [delta.token_ids for delta in await batch] == [expected] * 3
    assert call.token_ids == expected
    assert batches == [3]
    assert await tiny_offline_engine.generate_batch([], GREEDY) == []


@needs_vllm
async def test_an_lm_s_batch_goes_through_generate(
    tiny_llm: Any, tiny_offline_engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`lm.respond_batch` is one LLM.generate, with each call's options, answer and error."""
    batches: list[list[Any]] = []
    original = tiny_llm.generate

    def counting(prompts: list[Any], params: list[Any], **options: Any) -> Any:
        batches.append(params)
        return original(prompts, params, **options)

    monkeypatch.setattr(tiny_llm, "generate", counting)
    lm = LM("gpt-oss-20b", engine=tiny_offline_engine, temperature=0)
    asked = [f"What is the capital of {country}?" for country in ("France", "Italy", "Spain")]
    alone = [
        (await lm.respond_async(text, previous_response_id=None, auto_store=False)).text
        for text in asked
    ]
    assert batches == []
    short = {"user_message": "Tell me a story.", "max_tokens": 3}
    bad = {"user_message": "Hello!", "seed": 1.5}
    *good, cut, refused = await asyncio.to_thread(
        lm.respond_batch, [*asked, short, bad], return_exceptions=True
    )
    assert [response.text for response in good] == alone
    assert (cut.status, len(cut.output_token_ids)) == ("incomplete", 3)
    assert isinstance(refused, EngineRequestError)
    (params,) = batches
    assert [own.max_tokens == 3 for own in params] == [False, False, False, True]
    assert len(await lm.responses.list_async()) == 7


@needs_vllm
async def test_a_batch_that_nobody_waits_for(
    tiny_offline_engine: VLLMEngine, prompt_of: Any, until: Until
) -> None:
    """A cancelled batch ends LLM.generate at its next step, and the LLM is as good as new."""
    prompt, endless = prompt_of("Tell me a story."), Sampling(temperature=0, max_tokens=3500)
    batch = asyncio.create_task(tiny_offline_engine.generate_batch([prompt] * 8, endless))
    assert await asyncio.to_thread(until, lambda: tiny_offline_engine.running_calls == 8, 30)
    before = time.monotonic()
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert await asyncio.to_thread(until, lambda: tiny_offline_engine.running_calls == 0, 5)
    (delta,) = await tiny_offline_engine.generate_batch([prompt_of("Hello!")], GREEDY)
    assert delta.finish_reason == "stop"
    assert time.monotonic() - before < 10


@needs_vllm
async def test_death_of_a_users_llm(
    tiny_model: Path, tiny_engine_args: dict[str, Any], prompt_of: Any, processes: Any
) -> None:
    """vLLM's own step loop hangs when its process is killed; our callers and our batches do not."""
    from vllm import LLM

    engine = VLLMEngine.from_llm(LLM(str(tiny_model), **tiny_engine_args))
    endless = Sampling(temperature=0, max_tokens=4000)
    await complete(engine, prompt_of("Hello!"))
    batch = asyncio.create_task(engine.generate_batch([prompt_of("Tell me a story.")] * 4, endless))
    await asyncio.sleep(0.2)
    calls = [asyncio.create_task(complete(engine, prompt_of("Hello!"), endless)) for _ in range(16)]
    await asyncio.sleep(0.1)
    processes.core().kill()
    before = time.monotonic()
    results = await asyncio.gather(batch, *calls, return_exceptions=True)
    assert time.monotonic() - before < 10
    assert {type(result) for result in results} == {EngineDeadError}
    with pytest.raises(EngineDeadError, match=r"Make a new vllm\.LLM"):
        await complete(engine, prompt_of("Hello!"))
    with pytest.raises(EngineStartError, match=r"Make a new vllm\.LLM"):
        await engine.restart()
    await engine.aclose()


SCRIPT = """
import asyncio, ctypes, json, os, signal, sys
if sys.platform == "linux":
    # Tests that are killed take their scripts along, some of which would run for ever.
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
import psutil
from synth_ai import LM, VLLMEngine
from synth_ai.engines.base import Sampling

engine = VLLMEngine({model!r}, **{engine_args!r})

def tell(**facts):
    print(json.dumps(facts), flush=True)

async def complete(max_tokens=3):
    deltas = engine.generate([200006, 17360, 200008], Sampling(max_tokens=max_tokens))
    return [delta.token_ids async for delta in deltas]

asyncio.run(engine.start())
tell(processes=[process.pid for process in psutil.Process().children(recursive=True)])
"""


class Script:
    """A user's program, in a separate process, that starts an engine without a main guard."""

    def __init__(self, code: str, *arguments: str, stdin: bool = False, cwd: Path) -> None:
        path = cwd / "script.py"
        path.write_text(code)
        self.process = subprocess.Popen(
            [sys.executable, "-" if stdin else str(path), *arguments],
            stdin=path.open() if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            # What a shell starts in the background ignores Ctrl-C, and so does what that starts.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        """A test that fails leaves no engine behind either."""
        import psutil

        if self.process.poll() is None:
            for process in [
                *psutil.Process(self.process.pid).children(recursive=True),
                self.process,
            ]:
                process.kill()
        self.process.communicate()

    def told(self) -> dict[str, Any]:
        """The next thing that the script tells; fails with its stderr if it ends instead."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        _, stderr = self.process.communicate()
        raise AssertionError(f"The script ended:\n{stderr}")


def gone(pids: list[int]) -> bool:
    """Whether none of these processes runs any more."""
    import psutil

    return not any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        for pid in pids
    )


@pytest.fixture
def code(tiny_model: Path, tiny_engine_args: dict[str, Any]) -> str:
    """The beginning of a script: it loads an engine at the top level and tells its processes."""
    return SCRIPT.format(model=str(tiny_model), engine_args=tiny_engine_args)


@needs_vllm
def test_script_without_guard_and_fork(code: str, tmp_path: Path, until: Until) -> None:
    """A script without a main guard works, a fork leaves the engine alone, its end ends all."""
    code += """
pid = os.fork()
if pid == 0:
    try:
        asyncio.run(complete())
    except Exception as error:
        tell(forked=repr(error))
    os._exit(0)
os.waitpid(pid, 0)
tell(lengths=[len(ids) for ids in asyncio.run(complete())])
"""
    with Script(code, cwd=tmp_path) as script:
        pids = script.told()["processes"]
        assert pids
        assert "forked from it" in script.told()["forked"]
        assert script.told() == {"lengths": [3]}
        _, stderr = script.process.communicate(timeout=180)
    assert script.process.returncode == 0
    assert "Traceback" not in stderr
    assert until(lambda: gone(pids), 5)


@needs_vllm
def test_scripts_from_stdin_that_are_stopped(code: str, tmp_path: Path, until: Until) -> None:
    """A script from standard input works, and a signal during a call leaves no process behind."""
    code += """
async def endless():
    task = asyncio.create_task(complete(4000))
    await asyncio.sleep(0.1)
    tell(running=not task.done())
    while True:
        await task
        task = asyncio.create_task(complete(4000))
asyncio.run(endless())
"""
    # Loading takes a while, so all of them load at once.
    signals = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
    with ExitStack() as stack:
        scripts = {
            how: stack.enter_context(Script(code, stdin=True, cwd=tmp_path)) for how in signals
        }
        for how, script in scripts.items():
            pids = script.told()["processes"]
            assert script.told() == {"running": True}
            os.kill(script.process.pid, how)
            script.process.communicate(timeout=180)
            assert script.process.returncode != 0
            assert until(lambda pids=pids: gone(pids), 15), f"{how.name} left processes behind"


@needs_vllm
def test_start_in_a_spawned_process_that_imports_main(tmp_path: Path, tiny_model: Path) -> None:
    """If a user's spawned process imports an unguarded script, a quick error says what to do."""
    code = f"""
import asyncio, multiprocessing, sys
from synth_ai import LM, VLLMEngine
from synth_ai.errors import EngineStartError

def work():
    pass

if multiprocessing.parent_process() or __name__ == "__mp_main__":
    try:
        asyncio.run(VLLMEngine({str(tiny_model)!r}).start())
    except EngineStartError as error:
        print("refused:", error, flush=True)
else:
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
"""
    path = tmp_path / "script.py"
    path.write_text(code)
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=180, check=True
    )
    assert "refused: This process was spawned by multiprocessing" in done.stdout
    assert "if __name__ == '__main__':" in done.stdout
    assert time.monotonic() - before < 10
