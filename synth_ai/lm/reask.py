"""Calls that ask again if an answer does not fit: `reask=`.

Each try is a turn of the branch. The next one continues it with what was wrong.
"""

from __future__ import annotations

from dataclasses import replace

from synth_ai.errors import OptionError, StructuredOutputError, SynthAIError
from synth_ai.lm import pipeline, prepare
from synth_ai.lm.arguments import PROMPT_ARGUMENTS, CallArguments
from synth_ai.lm.call import Call
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Head
from synth_ai.lm.deadline import Deadline
from synth_ai.lm.structured_output import MAX_ERRORS_TO_MEND, ResponseFormat, describe_error
from synth_ai.response import BaseLMResponse
from synth_ai.store.memory import MemoryStore
from synth_ai.store.null import NullStore


def is_given(config: LMConfig, call: Call) -> bool:
    """Tell whether a call, or its LM, gives `reask=` anything but 0."""
    return bool(call.options.get("reask", config.defaults.get("reask")))


async def respond(config: LMConfig, call: Call, head: Head) -> BaseLMResponse:
    """Answer one call, and ask again while the answer does not fit its shape.

    The call's `timeout` is for all tries together.

    Raises:
        OptionError: the call itself gives `reask=`, and has no shape.
        StructuredOutputError: the last answer does not fit either; all tries are on the error.
        SynthAIError: see `synth_ai.errors`.
    """
    call, shape = prepare.read_shape(config, call)
    reasks = _read_reasks(config, call, shape)
    if isinstance(config.store, NullStore):
        # The tries continue one another: they get a store that goes with the call.
        config = replace(config, store=MemoryStore())
    _, timeout = prepare.read_options(config, call)
    deadline = Deadline(timeout)

    tries: list[BaseLMResponse] = []
    while True:
        try:
            response = await pipeline.respond(config, call, head, deadline)
        except StructuredOutputError as error:
            tries.append(error.response)
            error.responses = tuple(tries)
            if len(tries) > reasks:
                raise
            call = _ask_again(call, error.response, _describe(error))
        except SynthAIError as error:
            _note_tries(error, tries)
            raise
        else:
            response.tries = len(tries) + 1
            response._earlier_tries = tuple(tries)
            return response


def check_stream(config: LMConfig, call: Call, shape: ResponseFormat | None) -> None:
    """Refuse to ask again behind a stream, whose reader has seen the answer by then.

    Raises:
        OptionError: the stream is of a shape, with `reask=`; or it gives `reask=` without one.
    """
    reasks = _read_reasks(config, call, shape)
    if reasks:
        raise OptionError(
            f"reask={reasks} is not for a stream: what its reader has seen of an answer cannot be "
            "taken back. Use respond(), or reask=0 for this stream."
        )


def _read_reasks(config: LMConfig, call: Call, shape: ResponseFormat | None) -> int:
    """Read how often the model may be asked again.

    An LM's `reask` is for those of its calls that have a shape.

    Raises:
        OptionError: it is not a whole number from 0, or the call itself gives it and has no shape.
    """
    own = config.vendor.api.read_options(call.options)
    if own.get("reask") and shape is None:
        raise OptionError(
            f"reask={own['reask']} needs a response_model=: plain text fits whatever it says."
        )
    if shape is None:
        return 0
    return own.get("reask", config.defaults.get("reask")) or 0


def _describe(error: StructuredOutputError) -> str:
    """Describe to the model what does not fit."""
    reason = error.__cause__
    if not isinstance(reason, ValueError):
        # A vendor of one's own has checked the answer itself.
        return str(error)
    return describe_error(reason, MAX_ERRORS_TO_MEND)


def _ask_again(call: Call, response: BaseLMResponse, reason: str) -> Call:
    """Make the call of the next try, which continues the one that did not fit."""
    text = (
        f"Your answer does not fit the form that was asked for: {reason}. "
        "Answer again, with nothing but the JSON of the whole corrected answer."
    )

    arguments: CallArguments = {"previous_response_id": response.response_id}
    for name, value in call.arguments.items():
        if name not in PROMPT_ARGUMENTS:
            arguments[name] = value  # type: ignore[literal-required]
    return replace(call, texts=(text,), arguments=arguments)


def _note_tries(error: SynthAIError, tries: list[BaseLMResponse]) -> None:
    """Say on an error of another kind which answers came before it."""
    if not tries:
        return
    ids = ", ".join(response.response_id for response in tries)
    error.add_note(f"It came when the model was asked again, as its answer did not fit: {ids}.")
