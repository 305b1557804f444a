"""The table of options agrees with the installed openai SDK."""

from __future__ import annotations

import pytest
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from synth_ai.api import RESERVED
from synth_ai.lm.vendors.apis import BUILT_IN

PARAMETERS = {
    "chat": (
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
    "responses": (
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ),
}


@pytest.mark.parametrize("api", PARAMETERS)
def test_every_parameter_of_the_sdk_is_an_option(api: str) -> None:
    """A new one must not be refused as unknown: add a field to `GenerationOptions`."""
    parameters: set[str] = set()
    for call in PARAMETERS[api]:
        parameters |= call.__annotations__.keys()

    given_as_arguments = {"tools"}
    assert parameters - RESERVED.keys() - given_as_arguments <= BUILT_IN[api].options.keys()
