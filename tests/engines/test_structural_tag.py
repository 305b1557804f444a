"""The constraint on a completion: what it lets the model write, by vLLM's own grammar engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from synth_ai import harmony
from synth_ai.engines.base import OutputConstraint
from synth_ai.engines.vllm.structural_tag import make_structural_tag
from synth_ai.harmony.tokens import CONTROL_TOKENS, token_bytes

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}

REASONING = "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant"
ANSWER = '<|channel|>final<|message|>{"a": 1}<|return|>'
JSON_CALL = ' <|constrain|>json<|message|>{"city": "Oslo"}<|call|>'
FUNCTION = f"<|channel|>commentary to=functions.get_weather{JSON_CALL}"
FUNCTION_FIRST = f" to=functions.get_weather<|channel|>commentary{JSON_CALL}"
PYTHON = "<|channel|>analysis to=python code<|message|>print(1)<|call|>"
PYTHON_FIRST = " to=python<|channel|>analysis code<|message|>print(1)<|call|>"
BROWSER = (
    '<|channel|>commentary to=browser.search <|constrain|>json<|message|>{"query": "x"}<|call|>'
)


@pytest.fixture(scope="module")
def allows() -> Callable[[OutputConstraint, str], bool]:
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

    def allows(structure: OutputConstraint, completion: str) -> bool:
        matcher = xgrammar.GrammarMatcher(
            compiler.compile_structural_tag(make_structural_tag(structure))
        )
        return all(
            matcher.accept_token(id_) for id_ in harmony.encode(completion, control_tokens=True)
        )

    return allows


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("structure", "allowed"),
    [
        (OutputConstraint(SCHEMA), [ANSWER]),
        (OutputConstraint(SCHEMA, tool_calls=True), [ANSWER, FUNCTION, FUNCTION_FIRST]),
        (OutputConstraint(SCHEMA, builtins=("python",)), [ANSWER, PYTHON, PYTHON_FIRST]),
        (OutputConstraint(SCHEMA, builtins=("browser",)), [ANSWER, BROWSER]),
        (
            OutputConstraint(SCHEMA, tool_calls=True, builtins=("python", "browser")),
            [ANSWER, FUNCTION, FUNCTION_FIRST, PYTHON, PYTHON_FIRST, BROWSER],
        ),
    ],
)
def test_what_may_be_called(
    allows: Callable[[OutputConstraint, str], bool], structure: OutputConstraint, allowed: list[str]
) -> None:
    """The answer always, and calls of the tools there are, both with and without reasoning."""
    every = [ANSWER, FUNCTION, FUNCTION_FIRST, PYTHON, PYTHON_FIRST, BROWSER]
    assert [completion for completion in every if allows(structure, completion)] == allowed
    assert [
        completion for completion in every if allows(structure, REASONING + completion)
    ] == allowed


@pytest.mark.vllm
def test_an_answer_of_another_shape(allows: Callable[[OutputConstraint, str], bool]) -> None:
    """The final channel holds nothing but the schema's JSON."""
    for wrong in ('{"a": "one"}', '{"b": 1}', "One.", '{"a": 1} and more'):
        assert not allows(OutputConstraint(SCHEMA), f"<|channel|>final<|message|>{wrong}<|return|>")


@pytest.mark.vllm
def test_no_reasoning(allows: Callable[[OutputConstraint, str], bool]) -> None:
    """A budget of no tokens leaves none, and is no error."""
    assert allows(OutputConstraint(SCHEMA, reasoning_budget=0), ANSWER)
    assert not allows(OutputConstraint(SCHEMA, reasoning_budget=0), REASONING + ANSWER)


def as_grammar(node: Any) -> str:
    """A node of a tag as a grammar: `[...]` may be left out, one of `(... | ...)` must come."""
    match node["type"]:
        case "sequence":
            return "".join(as_grammar(element) for element in node["elements"])
        case "or":
            return f"({' | '.join(as_grammar(element) for element in node['elements'])})"
        case "optional":
            return f"[{as_grammar(node['content'])}]"
        case "any_tokens":
            allowed = sorted(set(range(199_998, 200_019)) - set(node["exclude_tokens"]))
            return f"TOKENS{allowed or ''}{node.get('max_tokens', '')}"
        case "json_schema":
            return json.dumps(node["json_schema"])
    return str(node["value"])


ANALYSIS_20 = "[<|channel|>analysis<|message|>TOKENS20<|end|><|start|>assistant]"
PREAMBLE = "[<|channel|>commentary<|message|>TOKENS<|end|><|start|>assistant]"
FINAL = "<|channel|>final[( json |  <|constrain|>json)]<|message|>{}"


def test_the_whole_tag_of_an_answer() -> None:
    """Reasoning as far as its budget goes, and then the answer."""
    tag = json.loads(make_structural_tag(OutputConstraint({}, reasoning_budget=20)))
    assert tag["type"] == "structural_tag"
    assert as_grammar(tag["format"]) == ANALYSIS_20 + FINAL


def test_the_whole_tag_with_tools() -> None:
    """Instead of the answer any call may come, in the order of the tools, and a preamble before."""
    structure = OutputConstraint({}, reasoning_budget=20, tool_calls=True, builtins=("python",))
    tag = json.loads(make_structural_tag(structure))
    content = "TOKENS[200003, 200008]"
    alternatives = [
        FINAL,
        f"<|channel|>commentary to=functions{content}",
        " to=functionsTOKENS[200003, 200005, 200008]",
        f"<|channel|>commentary to=python{content}",
        f"<|channel|>analysis to=python{content}",
        " to=pythonTOKENS[200003, 200005, 200008]",
    ]
    assert as_grammar(tag["format"]) == f"{ANALYSIS_20}{PREAMBLE}({' | '.join(alternatives)})"
