"""What vLLM's failures mean in our terms."""

from __future__ import annotations

from typing import TypeVar

from synth_ai.errors import EngineDeadError, EngineRequestError, EngineStartError, SynthAIError

_Error = TypeVar("_Error", bound=BaseException)

_DEAD = (
    "The engine has died: its process was killed or failed, for example for want of memory; its log on stderr says "
    "more. Call `await engine.restart()` (an LM has its engine as `lm.engine`), or make a new engine."
)


def start_error(error: BaseException) -> EngineStartError:
    """Why the engine could not be loaded."""
    if isinstance(error, EngineStartError):
        return error
    if isinstance(error, RuntimeError) and "See root cause above" in str(error):
        message = (
            "vLLM's engine process failed while it was loading. The cause is in its log above, on stderr. If it is "
            "memory, lower max_model_len or max_num_seqs, or raise gpu_memory_utilization or kv_cache_memory_bytes."
        )
    elif isinstance(error, ImportError) and "openai_harmony" in str(error):
        message = (
            "vLLM needs the module openai_harmony, which is missing or broken. The packages openai-harmony and "
            "oss-harmony both install it, and removing either removes it: pip install --force-reinstall oss-harmony"
        )
    else:
        message = f"vLLM could not load the model: {error}"
    return _caused_by(error, EngineStartError(message))


def call_error(error: BaseException) -> SynthAIError:
    """Why a call came to nothing: the engine is dead, or refused it, or failed at it alone."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError as VLLMEngineDeadError

    if isinstance(error, SynthAIError):
        return error
    if isinstance(error, VLLMEngineDeadError):
        return _caused_by(error, EngineDeadError(_DEAD))
    if isinstance(error, VLLMClientError):
        return _caused_by(error, EngineRequestError(f"vLLM refused this request: {error}"))
    # vLLM wraps what it did not expect in an error without a message.
    cause = error.__cause__ or error
    return _caused_by(
        cause, EngineRequestError(f"vLLM failed this request: {type(cause).__name__}: {cause}")
    )


def closed_error() -> EngineDeadError:
    """The engine was closed under a call."""
    return EngineDeadError("The engine was closed while this call was waiting or running.")


def _caused_by(cause: BaseException, error: _Error) -> _Error:
    error.__cause__ = cause
    return error
