"""What vLLM's failures mean: its exceptions as errors of this library."""

from __future__ import annotations

import re
from typing import TypeVar

from synth_ai.engines.vllm.process_log import log_stream
from synth_ai.errors import EngineDeadError, EngineRequestError, EngineStartError, SynthAIError

_Error = TypeVar("_Error", bound=BaseException)

# What is short is the memory of the GPU, or its part that vLLM may take: a larger part helps where
# the cache has too little of it, and only a smaller one where others hold the rest.
_LESS_MEMORY = (
    "If memory was short, lower max_model_len or max_num_seqs. Where the GPU had less free than "
    "vLLM was to take, lower gpu_memory_utilization; where the cache was too small, give "
    "kv_cache_memory_bytes."
)

# What vLLM and torch say of it:
#   Free memory on device (3.1/79.2 GiB) on startup is less than desired GPU memory utilization ...
#   CUDA out of memory. Tried to allocate 2.00 GiB.
#   No available memory for the cache blocks.
_SHORT_OF_MEMORY = ("Free memory on device", "out of memory", "No available memory")

# Advice of vLLM's own that contradicts ours: a larger part of the GPU does not help if others hold
# the rest.
#   No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when
#   initializing the engine (...). See https://docs.vllm.ai/... for more details.
#   -> No available memory for the cache blocks.
_MORE_MEMORY = re.compile(
    r" *Try increasing `gpu_memory_utilization`[^\n]*?(?: for more details\.|$)", re.MULTILINE
)

# What vLLM says if its process has failed, so that the log of that alone has the cause.
_CAUSE_IN_LOG = "See root cause above"


def start_error(error: BaseException, log: str = "") -> EngineStartError:
    """Make the error of a load from the exception that ended it.

    Args:
        error: the exception.
        log: the last lines of the log of vLLM's process.
    """
    if isinstance(error, EngineStartError):
        return error

    return _with_cause(EngineStartError(_explain_load_error(error, log)), error)


def call_error(error: BaseException, log: str = "") -> SynthAIError:
    """Make the error of one call from the exception that ended it.

    Args:
        error: the exception.
        log: the last lines of the log of vLLM's process.

    Returns:
        An EngineDeadError if the whole engine is dead, an EngineRequestError if vLLM refused this
        request or failed at it alone.
    """
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError as VLLMEngineDeadError

    if isinstance(error, SynthAIError):
        return error
    if isinstance(error, VLLMEngineDeadError):
        return _with_cause(dead_error(log), error)
    if isinstance(error, VLLMClientError):
        return _with_cause(EngineRequestError(f"vLLM refused this request: {error}"), error)

    # vLLM wraps what it did not expect in an EngineGenerateError, which has no message.
    cause = error.__cause__ or error
    message = f"vLLM failed this request: {type(cause).__name__}: {cause}"
    return _with_cause(EngineRequestError(message), cause)


def dead_error(log: str = "") -> EngineDeadError:
    """Make the error of a call whose engine has died.

    Args:
        log: the last lines of the log of vLLM's process.
    """
    message = (
        "The engine has died: its process was killed or failed, for example for want of memory; "
        f"its log on {log_stream()} says more. Call `await engine.restart()` (an LM has its engine "
        "as `lm.engine`), or make a new engine."
    )
    return EngineDeadError(_with_log(message, log))


def closed_error() -> EngineDeadError:
    """Make the error of a call whose engine was closed."""
    return EngineDeadError("The engine was closed while this call was waiting or running.")


def _with_log(message: str, log: str) -> str:
    return f"{message}\nThe last lines of its log:\n{log}" if log else message


def _explain_load_error(error: BaseException, log: str) -> str:
    text = str(error)
    if isinstance(error, RuntimeError) and _CAUSE_IN_LOG in text:
        message = (
            "vLLM's engine process failed while it was loading. The cause is in its log above, on "
            f"{log_stream()}. {_LESS_MEMORY}"
        )
        return _with_log(message, _MORE_MEMORY.sub("", log))

    if isinstance(error, ImportError) and "openai_harmony" in text:
        return (
            "vLLM needs the module openai_harmony, which is missing or broken. The packages "
            "openai-harmony and oss-harmony both install it, and removing either removes it: "
            "pip install --force-reinstall oss-harmony"
        )

    if any(word in text for word in _SHORT_OF_MEMORY):
        return f"vLLM could not load the model: {_MORE_MEMORY.sub('', text)} {_LESS_MEMORY}"
    return f"vLLM could not load the model: {text}"


def _with_cause(error: _Error, cause: BaseException) -> _Error:
    error.__cause__ = cause
    return error
