"""The constraint on a completion, by the grammar engine that vLLM uses: what the model may write, and what not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from synth_ai import harmony
from synth_ai.engines.base import Structure
from synth_ai.engines.vllm.structural_tag import make_structural_tag
from synth_ai.harmony.tokens import CONTROL_TOKENS, token_bytes

pytestmark = pytest.mark.vllm

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}

REASONING = "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant"
ANSWER = '<|channel|>final<|message|>{"a": 1}<|return|>'
FUNCTION = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>'
FUNCTION_FIRST = ' to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>{"city": "Oslo"}<|call|>'
PYTHON = "<|channel|>analysis to=python code<|message|>print(1)<|call|>"
PYTHON_FIRST = " to=python<|channel|>analysis code<|message|>print(1)<|call|>"
BROWSER = (
    '<|channel|>commentary to=browser.search <|constrain|>json<|message|>{"query": "x"}<|call|>'
)


@pytest.fixture(scope="module")
def allows() -> Callable[[Structure, str], bool]:
    """Whether a constraint lets the model write a whole completion, in the tokens that text has."""
    import xgrammar

    names = {id_: name for name, id_ in CONTROL_TOKENS.items()}
    vocabulary = [
        *token_bytes(),
        *(names[id_].encode() for id_ in range(len(token_bytes()), harmony.VOCABULARY_SIZE)),
    ]
    compiler = xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo(
            vocabulary,
            vocab_size=harmony.VOCABULARY_SIZE,
            stop_token_ids=list(harmony.STOP_TOKEN_IDS),
        )
    )

    def allows(structure: Structure, completion: str) -> bool:
        matcher = xgrammar.GrammarMatcher(
            compiler.compile_structural_tag(make_structural_tag(structure))
        )
        return all(
            matcher.accept_token(id_) for id_ in harmony.encode(completion, control_tokens=True)
        )

    return allows


@pytest.mark.parametrize(
    ("structure", "allowed"),
    [
        (Structure(SCHEMA), [ANSWER]),
        (Structure(SCHEMA, tool_calls=True), [ANSWER, FUNCTION, FUNCTION_FIRST]),
        (Structure(SCHEMA, builtins=("python",)), [ANSWER, PYTHON, PYTHON_FIRST]),
        (Structure(SCHEMA, builtins=("browser",)), [ANSWER, BROWSER]),
        (
            Structure(SCHEMA, tool_calls=True, builtins=("python", "browser")),
            [ANSWER, FUNCTION, FUNCTION_FIRST, PYTHON, PYTHON_FIRST, BROWSER],
        ),
    ],
)
def test_what_may_be_called(
    allows: Callable[[Structure, str], bool], structure: Structure, allowed: list[str]
) -> None:
    """The answer always, and calls of the tools there are, with reasoning before them and without it."""
    every = [ANSWER, FUNCTION, FUNCTION_FIRST, PYTHON, PYTHON_FIRST, BROWSER]
    assert [completion for completion in every if allows(structure, completion)] == allowed
    assert [
        completion for completion in every if allows(structure, REASONING + completion)
    ] == allowed


def test_an_answer_of_another_shape(allows: Callable[[Structure, str], bool]) -> None:
    """The final channel holds nothing but the schema's JSON."""
    for wrong in ('{"a": "one"}', '{"b": 1}', "One.", '{"a": 1} and more'):
        assert not allows(Structure(SCHEMA), f"<|channel|>final<|message|>{wrong}<|return|>")


def test_no_reasoning(allows: Callable[[Structure, str], bool]) -> None:
    """A budget of no tokens leaves none, and is no error."""
    assert allows(Structure(SCHEMA, reasoning_budget=0), ANSWER)
    assert not allows(Structure(SCHEMA, reasoning_budget=0), REASONING + ANSWER)
