"""What vLLM's failures mean: its exceptions as errors of this library."""

from __future__ import annotations

from typing import TypeVar

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

_DEAD = (
    "The engine has died: its process was killed or failed, for example for want of memory; its "
    "log on stdout says more. Call `await engine.restart()` (an LM has its engine as `lm.engine`), "
    "or make a new engine."
)


def start_error(error: BaseException) -> EngineStartError:
    """Make the error of a load from the exception that ended it."""
    if isinstance(error, EngineStartError):
        return error

    return _with_cause(EngineStartError(_explain_load_error(error)), error)


def call_error(error: BaseException) -> SynthAIError:
    """Make the error of one call from the exception that ended it.

    Returns:
        An EngineDeadError if the whole engine is dead, an EngineRequestError if vLLM refused this
        request or failed at it alone.
    """
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError as VLLMEngineDeadError

    if isinstance(error, SynthAIError):
        return error
    if isinstance(error, VLLMEngineDeadError):
        return _with_cause(EngineDeadError(_DEAD), error)
    if isinstance(error, VLLMClientError):
        return _with_cause(EngineRequestError(f"vLLM refused this request: {error}"), error)

    # vLLM wraps what it did not expect in an EngineGenerateError, which has no message.
    cause = error.__cause__ or error
    message = f"vLLM failed this request: {type(cause).__name__}: {cause}"
    return _with_cause(EngineRequestError(message), cause)


def closed_error() -> EngineDeadError:
    """Make the error of a call whose engine was closed."""
    return EngineDeadError("The engine was closed while this call was waiting or running.")


def _explain_load_error(error: BaseException) -> str:
    text = str(error)
    # vLLM's process has failed, and only its log says why.
    if isinstance(error, RuntimeError) and "See root cause above" in text:
        return (
            "vLLM's engine process failed while it was loading. The cause is in its log above, on "
            f"stdout. {_LESS_MEMORY}"
        )

    if isinstance(error, ImportError) and "openai_harmony" in text:
        return (
            "vLLM needs the module openai_harmony, which is missing or broken. The packages "
            "openai-harmony and oss-harmony both install it, and removing either removes it: "
            "pip install --force-reinstall oss-harmony"
        )

    if any(word in text for word in _SHORT_OF_MEMORY):
        return f"vLLM could not load the model: {text} {_LESS_MEMORY}"
    return f"vLLM could not load the model: {text}"


def _with_cause(error: _Error, cause: BaseException) -> _Error:
    error.__cause__ = cause
    return error
