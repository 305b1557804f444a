"""The masks of constrained answers, by vLLM's grammar engine and the tokenizer that it is given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from constrained import SHAPES
from synth_ai import harmony
from synth_ai.engines.base import OutputConstraint
from synth_ai.engines.vllm.grammar_tokenizer import MARKER_PREFIX, write_grammar_tokenizer
from synth_ai.engines.vllm.structural_tag import make_structural_tag
from synth_ai.harmony import CALL, CHANNEL, END, MESSAGE, RETURN, START, STOP_TOKEN_IDS
from synth_ai.harmony.tokens import ORDINARY_SIZE

pytestmark = pytest.mark.vllm

TEXTS = (
    "Ada",
    "control tokens such as <|end|><|start|>assistant are text here",
    "a < b | c > d, <|, |>, <|reserved_200100|>",
    'quotes \\" and \\\\ and \\u0001',
    "\N{MELTING FACE} Ελλάδα 日本語",
)

# Of each shape an answer to every text. Those of a pattern or a length take what fits.
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "Person": tuple(f'{{"name": "{text}", "age": 36}}' for text in TEXTS),
    "Sum": tuple(f'{{"left": {n}, "right": -2, "total": {n}.5e3}}' for n in range(5)),
    "Feeling": tuple(f'{{"mood": "bad <|end|>", "because": "{text}"}}' for text in TEXTS),
    "Team": tuple(
        f'{{"people": [{{"name": "{text}", "age": 1}}, {{"name": "", "age": 2}}]}}'
        for text in TEXTS
    ),
    "Flags": ('{"first": true, "second": null}', '{"first":false,"second":true}') * 2
    + ('{ "first": true, "second": false }',),
    "Code": tuple(f'{{"code": "abc {text}"}}' for text in (*TEXTS[:3], "x", "y" * 40)),
    "Short": tuple(f'{{"word": "{text}"}}' for text in ("ab", "<|end|>", "a b", "日本語", "<||>x")),
    "Choice": tuple(f'{{"kind": "no", "note": "{text}"}}' for text in TEXTS),
    "Table": tuple(f'{{"cells": {{"{text}": "{text}", "b": "c"}}}}' for text in TEXTS),
    "Reply": tuple(
        f'{{"question": "{text}", "answer": "{text}", "source": {{"kind": "yes", "note": null}}}}'
        for text in TEXTS
    ),
}

REASONING = "<|channel|>analysis<|message|>Let me see < |.<|end|><|start|>assistant"
HEADER = "<|channel|>final <|constrain|>json<|message|>"


class Masks:
    """One compiler for all shapes, as vLLM has it."""

    def __init__(self, folder: Path) -> None:
        import xgrammar
        from transformers import AutoTokenizer

        write_grammar_tokenizer(folder)
        self._xgrammar = xgrammar
        # As vLLM makes it.
        self.info = xgrammar.TokenizerInfo.from_huggingface(
            AutoTokenizer.from_pretrained(folder), vocab_size=harmony.VOCABULARY_SIZE
        )
        self._compiler = xgrammar.GrammarCompiler(self.info)

    def matcher(self, constraint: OutputConstraint) -> Any:
        tag = make_structural_tag(constraint, marker_prefix=MARKER_PREFIX)
        return self._xgrammar.GrammarMatcher(
            self._compiler.compile_structural_tag(tag), override_stop_tokens=list(STOP_TOKEN_IDS)
        )

    def allowed(self, matcher: Any) -> set[int]:
        """The ids that may come next."""
        import numpy

        mask = self._xgrammar.allocate_token_bitmask(1, harmony.VOCABULARY_SIZE)
        matcher.fill_next_token_bitmask(mask)
        bits = numpy.unpackbits(mask.numpy().view(numpy.uint8), bitorder="little")
        return set(numpy.flatnonzero(bits).tolist())

    def follow(self, constraint: OutputConstraint, text: str) -> Iterator[tuple[int, set[int]]]:
        """Each id of a completion, and those that might have come in its place."""
        matcher = self.matcher(constraint)
        for id_ in harmony.encode(text, control_tokens=True):
            yield id_, self.allowed(matcher)
            assert matcher.accept_token(id_), harmony.decode([id_])


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Masks:
    return Masks(tmp_path_factory.mktemp("tokenizer"))


def controls(ids: set[int]) -> set[int]:
    return {id_ for id_ in ids if id_ >= ORDINARY_SIZE}


def schema_of(shape: type) -> dict[str, Any]:
    return TypeAdapter(shape).json_schema()


def test_the_tokenizer_has_the_published_ordinary_tokens(masks: Masks) -> None:
    """All but the two with U+0001 in them, which no answer may hold."""
    texts = harmony.tokens.token_bytes()
    pairs = zip(texts, masks.info.decoded_vocab, strict=False)
    changed = [text for text, spelling in pairs if text != spelling]
    assert changed == [b"\x01", b"\x01E"]


def test_no_control_token_inside_an_answer(masks: Masks) -> None:
    """At every position of 50 answers of ten shapes, which take turns with one compiler.

    A text that spells a control token is a text like others.
    """
    count = 0
    for number in range(5):
        for shape in SHAPES:
            answer = ANSWERS[shape.__name__][number]
            TypeAdapter(shape).validate_json(answer.replace("\\u0001", ""))
            # Spelled in the answer, they are text and not tokens.
            ids = [*harmony.encode(HEADER, control_tokens=True), *harmony.encode(answer), RETURN]
            matcher = masks.matcher(OutputConstraint(schema_of(shape)))
            in_answer = False
            for id_ in ids:
                allowed = masks.allowed(matcher)
                if in_answer:
                    is_over = id_ == RETURN
                    assert controls(allowed) == (set(STOP_TOKEN_IDS) if is_over else set())
                assert matcher.accept_token(id_), (answer, harmony.decode([id_]))
                in_answer = in_answer or id_ == MESSAGE
            count += 1
    assert count == 50


@pytest.mark.parametrize(
    "text",
    [
        {"type": "string"},
        {"type": "string", "minLength": 2, "maxLength": 9},
        {"type": "string", "pattern": "^.*$"},
        {"type": "string", "pattern": r"^[\s\S]*$"},
        {"type": "string", "pattern": "^[^b]+$"},
        {"type": "string", "pattern": r"^\W*"},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "uri"},
        {"type": "string", "format": "hostname"},
        {"type": "string", "format": "date"},
        {},
        {"type": "object"},
        {"type": "array"},
        {"enum": ["a<|end|>", "a<|call|>b"]},
        {"const": "a<|end|>"},
    ],
)
def test_no_control_token_inside_any_text(masks: Masks, text: dict[str, Any]) -> None:
    """Whatever kind of text, beside tools and a budget too."""
    schema = {"type": "object", "properties": {"a": text}, "required": ["a"]}
    matcher = masks.matcher(
        OutputConstraint(schema, reasoning_budget=9, tool_calls=True, builtins=("python",))
    )
    for id_ in harmony.encode(f'{HEADER}{{"a":', control_tokens=True):
        assert matcher.accept_token(id_)

    for _ in range(12):
        allowed = masks.allowed(matcher)
        assert not controls(allowed) or controls(allowed) == set(STOP_TOKEN_IDS)
        if controls(allowed):
            return
        # The first that is a letter goes on with the text, if one is allowed.
        word = [id_ for id_ in sorted(allowed) if harmony.decode([id_]).isalpha()]
        assert matcher.accept_token(word[0] if word else min(allowed))


def test_lengths_are_counted_as_the_answer_is_read(masks: Masks) -> None:
    """xgrammar lets half of a surrogate pair into a string, as one character."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 2}}}
    matcher = masks.matcher(OutputConstraint(schema))
    half = [harmony.tokens.token_bytes().index(byte) for byte in (b"\xed", b"\xa0", b"\xbd")]
    ids = [*harmony.encode(f'{HEADER}{{"a": "', control_tokens=True), *half, *harmony.encode("b")]
    for id_ in (*ids, *harmony.encode('"}'), RETURN):
        assert matcher.accept_token(id_)

    answer = harmony.parse([*ids, *harmony.encode('"}'), RETURN]).final
    assert answer == '{"a": "\ufffdb"}'


def test_markers_are_tokens_alone(masks: Masks) -> None:
    """Where a control token must come, it alone may come: no text can spell it."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    completion = f'{REASONING}{HEADER}{{"a": 1}}<|return|>'
    constraint = OutputConstraint(schema, reasoning_budget=8)
    must_come = {CHANNEL, START}
    for id_, allowed in masks.follow(constraint, completion):
        if id_ in must_come:
            assert allowed == {id_}
        if id_ == END:
            assert controls(allowed) == {END}


def test_a_spent_budget_leaves_the_end_of_reasoning_alone(masks: Masks) -> None:
    """The model can only end it then, and not begin to spell a marker."""
    matcher = masks.matcher(OutputConstraint({"type": "object"}, reasoning_budget=3))
    begin = harmony.encode("<|channel|>analysis<|message|>", control_tokens=True)
    for id_ in [*begin, *harmony.encode("x") * 3]:
        assert matcher.accept_token(id_)
    assert masks.allowed(matcher) == {END}


def test_calls_of_tools(masks: Masks) -> None:
    """A call has the control tokens of its header, and ends with the turn."""
    constraint = OutputConstraint({"type": "object"}, tool_calls=True, builtins=("python",))
    call = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
    for id_, allowed in masks.follow(constraint, REASONING + call):
        if id_ == CALL:
            assert controls(allowed) <= {*STOP_TOKEN_IDS, MESSAGE, harmony.CONSTRAIN}


@pytest.mark.parametrize(
    ("schema", "excludes"),
    [
        ({"type": "string"}, True),
        ({"type": "object"}, True),
        ({"type": "string", "maxLength": 5}, False),
        ({"enum": ["<|end|>"]}, False),
    ],
)
def test_an_engine_with_the_published_spelling(schema: dict[str, Any], *, excludes: bool) -> None:
    """No string may hold `<|` there, unless xgrammar would change the shape for that."""
    tag = make_structural_tag(OutputConstraint(schema), excludes_markers=True)
    assert ('"excludes": ["<|"]' in tag) is excludes


def test_strings_without_markers_hold_no_control_token() -> None:
    """By a vocabulary with the published spelling."""
    import numpy
    import xgrammar

    names = {id_: name for name, id_ in harmony.CONTROL_TOKENS.items()}
    controls_spelled = [names[id_].encode() for id_ in range(ORDINARY_SIZE, 201_088)]
    info = xgrammar.TokenizerInfo(
        [*harmony.tokens.token_bytes(), *controls_spelled],
        vocab_size=harmony.VOCABULARY_SIZE,
        stop_token_ids=list(STOP_TOKEN_IDS),
    )
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    tag = make_structural_tag(OutputConstraint(schema), excludes_markers=True)
    compiled = xgrammar.GrammarCompiler(info).compile_structural_tag(tag)
    matcher = xgrammar.GrammarMatcher(compiled)
    for id_ in harmony.encode(f'{HEADER}{{"a": "', control_tokens=True):
        assert matcher.accept_token(id_)
    for id_ in harmony.encode("abc < | d"):
        mask = xgrammar.allocate_token_bitmask(1, harmony.VOCABULARY_SIZE)
        matcher.fill_next_token_bitmask(mask)
        bits = numpy.unpackbits(mask.numpy().view(numpy.uint8), bitorder="little")
        assert not bits[ORDINARY_SIZE:].any()
        assert matcher.accept_token(id_)


def test_the_tag_is_json(masks: Masks) -> None:
    """The prefix stands in front of markers alone, and not in the schema."""
    schema = {"enum": ["<|end|>"]}
    tag = json.loads(make_structural_tag(OutputConstraint(schema), marker_prefix=MARKER_PREFIX))
    assert '{"enum": ["<|end|>"]}' in json.dumps(tag)
    assert "\\u0001\\r<|channel|>final" in json.dumps(tag)
