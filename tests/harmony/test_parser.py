"""Parsing what models emit: the forms around the public cases, and anything at all."""

from __future__ import annotations

import re
import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.conversations import FUNCTIONS
from harmony.samples import completion, joined, mutant, streamed, surfaced, whole
from synth_ai.harmony import (
    CONTROL_TOKENS,
    RETURN,
    Completion,
    StreamParser,
    TextDelta,
    ToolCallDelta,
    encode,
    parse,
)
from synth_ai.harmony.parser import State
from synth_ai.harmony.tokens import token_bytes

RANDOM = st.randoms(use_true_random=False)
CALL = '{"a":1}'
CONTROL = re.compile("|".join(map(re.escape, CONTROL_TOKENS)))


def parsed(
    text: str, **options: object
) -> tuple[str | None, str | None, str | None, list[tuple[str, str]], str]:
    found = parse(encode(text, control_tokens=True), **options)  # type: ignore[arg-type]
    calls = [(call.name, call.arguments) for call in found.tool_calls]
    return found.final, found.preamble, found.reasoning, calls, found.finish


@pytest.mark.parametrize(
    "header",
    [
        " to=functions.f<|channel|>commentary <|constrain|>json",
        " to=functions.f<|channel|>commentary to=functions.f json",
        "<|channel|>commentary to=functions.f <|constrain|>json",
        "<|channel|>commentary to=functions.f<|constrain|>json",
        "<|channel|>commentary <|constrain|>json to=functions.f",
        "<|channel|>commentary\n to=functions.f\n json",
        "<|channel|>commentary to = functions.f",
        '<|channel|>commentary to="functions.f" json',
        "<|channel|>analysis to=functions.f code",
        "<|channel|>final to=functions.f",
        "<|channel|>unknown to=functions.f json",
        "<|channel|><|channel|>commentary to=functions.f json",
        "<|channel|>commentary to=functions.functions.f json",
        "<|channel|>commentary to=functions/f json",
        "<|channel|>commentary to=functions.f<|channel|>commentary json",
        "<|channel|>commentary to=functions.f<|reserved_200010|> json",
        "<|channel|>commentary functions.f json",
        "<|channel|>functions.f <|constrain|>json",
        "assistant to=functions.f<|channel|>commentary json",
        "<|start|>assistant<|channel|>commentary to=functions.f json",
        "<|channel|>analysis<|message|>x<|end|>commentary to=functions.f json",
        "<|channel|>analysis<|message|>x<|end|><|channel|>commentary to=functions.f json",
        "<|channel|>analysis<|message|>x<|start|>assistant"
        " to=functions.f<|channel|>commentary json",
        "<|channel|>analysis<|message|>x<|channel|>commentary to=functions.f json",
    ],
)
@pytest.mark.parametrize("end", ["<|call|>", "<|end|>", "<|return|>", "<|endoftext|>", ""])
def test_call_headers(header: str, end: str) -> None:
    """A call is found however its header is written, and whatever ends it."""
    assert parsed(f"{header}<|message|>{CALL}{end}")[3:] == ([("f", CALL)], "tool_calls")


def test_call_with_its_tool_as_the_author() -> None:
    """Only the stop token tells a call by its author from an invented tool output."""
    reasoning = "<|channel|>analysis<|message|>x<|end|>"
    message = f"{reasoning}<|start|>functions.f<|channel|>commentary json<|message|>{CALL}"
    assert parsed(f"{message}<|call|>")[3:] == ([("f", CALL)], "tool_calls")
    assert parsed(f"{message}<|end|>")[3:] == ([], "malformed")


@pytest.mark.parametrize(
    ("recipient", "name"),
    [
        ("functions.get-weather_2", "get-weather_2"),
        ("functions.math.sum", "math.sum"),
        ("math.sum", "math.sum"),
        ("browser.open", "browser.open"),
        ("container.exec", "container.exec"),
        ("functions.get_json", "get_json"),
        ("functions.user", "user"),
    ],
)
def test_names(recipient: str, name: str) -> None:
    """Functions lose their namespace; any other tool is surfaced under its full name."""
    assert parsed(f"<|channel|>commentary to={recipient} json<|message|>{CALL}<|call|>")[3] == [
        (name, CALL)
    ]


GARBLED = "a garbled message header was read as best it could be"


@pytest.mark.parametrize(
    "header",
    [
        "<|channel|>commentary to=get_weather",
        "<|channel|>commentary to=functions.get_weatherjson",
        "<|channel|>commentary to=functions.get_weather.commentary json",
        " to=functions.get_weathercommentary json",
        " to=functions.get_weathercommentaryjson",
        " to=functions.get_weatheranalysis",
    ],
)
def test_known_names_put_garbled_ones_right(header: str) -> None:
    """A word that a lost control token has glued to a name is stripped, with a warning."""
    found = parse(
        encode(f"{header}<|message|>{CALL}<|call|>", control_tokens=True),
        tools=["get_weather", "get"],
    )
    assert [(call.name, call.arguments) for call in found.tool_calls] == [("get_weather", CALL)]
    assert found.warnings == [GARBLED]


def function(name: str) -> dict[str, str]:
    return {"type": "function", "name": name}


@pytest.mark.parametrize(
    ("recipient", "offered", "name"),
    [
        ("browser.search", ["browser", function("search")], "browser.search"),
        ("browser.search", [function("search")], "browser.search"),
        ("browser.json", ["browser"], "browser.json"),
        ("api.get_weather", [function("get_weather")], "api.get_weather"),
        ("functions.search_code", [function("search")], "search_code"),
        ("functions.searchcode", [function("search")], "searchcode"),
        ("functions.get_final", [function("get")], "get_final"),
        ("functions.addcommentary", [function("add")], "addcommentary"),
        ("functions.addcommentary", [], "addcommentary"),
        ("functions.getjson", [function("get"), function("getjson")], "getjson"),
        ("functions.math.sum", [function("sum")], "math.sum"),
    ],
)
def test_another_tool_is_never_called_instead(
    recipient: str, offered: list[str | dict[str, str]], name: str
) -> None:
    """A name that only begins or ends like a tool's is not that tool: it gets a warning."""
    header = f"<|channel|>commentary to={recipient}"
    found = parse(encode(f"{header}<|message|>{CALL}<|call|>", control_tokens=True), tools=offered)
    assert [call.name for call in found.tool_calls] == [name]
    is_offered = (
        not offered
        or name in ("getjson", "browser.json")
        or (name == "browser.search" and "browser" in offered)
    )
    assert any("not among the tools" in warning for warning in found.warnings) is not is_offered


@pytest.mark.parametrize("offered", [["get", "getjson"], ["getjson"]])
def test_a_name_is_whole_where_control_tokens_were_lost(offered: list[str]) -> None:
    """In stripped text, too, an offered name is not cut down to a shorter one."""
    found = parsed("assistantcommentary to=functions.getjson" + CALL, tools=offered)
    assert found[3] == [("getjson", CALL)]


@pytest.mark.parametrize(
    "recipient",
    ["functions." + "a" * 65, "a" * 65, "functions.user.f", "2f", "functions.f.f.f.f.f.f.f.f.f.f"],
)
def test_a_name_that_cannot_be_is_no_tool(recipient: str) -> None:
    """Neither the beginning of a name that is too long is called instead, nor the only tool."""
    found = parsed(
        f"<|channel|>commentary to={recipient} json<|message|>{CALL}<|call|>", tools=["a" * 64]
    )
    assert found[1:] == (None, None, [], "malformed")


def test_a_message_to_the_user_is_no_call() -> None:
    """JSON that the model addresses to the user is not handed to the only tool there is."""
    found = parsed(f"<|channel|>commentary to=user<|message|>{CALL}<|end|>", tools=["f"])
    assert found == (None, CALL, None, [], "stop")


def test_a_call_of_nobody_goes_to_the_only_tool_with_a_warning() -> None:
    """If there is one tool, arguments without a name are its arguments, with a warning."""
    found = parse(
        encode(f"<|channel|>commentary<|message|>{CALL}<|call|>", control_tokens=True), tools=["f"]
    )
    assert [call.name for call in found.tool_calls] == ["f"]
    assert found.warnings == ["a call that named no tool was taken for one of f, the only tool"]


PYTHON = function("python")


@pytest.mark.parametrize(
    ("recipient", "offered", "body", "arguments"),
    [
        ("functions.python", [PYTHON], '{"code": ', []),
        ("functions.python", [PYTHON], '{"code": 1} ', ['{"code": 1}']),
        ("functions.python", [PYTHON, "python"], '{"code": ', []),
        ("functions.python", ["functions.python"], '{"code": ', []),
        ("functions.python", [], '{"code": ', []),
        ("python", [PYTHON, "python"], '{"code": ', ['{"code": ']),
        ("python", [PYTHON], '{"code": ', []),
        ("python", [PYTHON], '{"code": 1} ', ['{"code": 1}']),
        ("python", [], "x ", ["x "]),
        ("functions.python", ["python"], "x ", ["x "]),
        ("python", [PYTHON], "", ["{}"]),
        ("python", [PYTHON], 'print({"a": 1})', ['print({"a": 1})']),
        ("python", [PYTHON], " 1 + 1\n", [" 1 + 1\n"]),
        ("functions.python", [PYTHON], "[1, 2]", ["[1, 2]"]),
    ],
)
def test_a_function_named_python(
    recipient: str, offered: list[str | dict[str, str]], body: str, arguments: list[str]
) -> None:
    """The built-in tool takes code. A function of that name takes JSON, which must be complete.

    What begins as no object is code for it, too, as the model has learnt to call that name so.
    """
    found = parsed(f" to={recipient}<|channel|>commentary<|message|>{body}<|call|>", tools=offered)
    assert found[3:] == (
        [("python", text) for text in arguments],
        "tool_calls" if arguments else "malformed",
    )


@pytest.mark.parametrize(
    "recipient", ["", "???", "<|constrain|>json", "functions", "functions.", "<|message|>"]
)
def test_garbage_is_no_name(recipient: str) -> None:
    """What is no name does not become one, and the JSON of such a call is not shown to the user."""
    final, preamble, _, calls, finish = parsed(
        f"<|channel|>commentary to={recipient} json<|message|>{CALL}<|call|>"
    )
    assert (final, preamble, calls, finish) == (None, None, [], "malformed")


def test_unoffered_tool_is_surfaced_with_a_warning() -> None:
    """A name outside of those given is not lost, and not passed over in silence."""
    found = parse(
        encode(f" to=functions.other<|channel|>commentary<|message|>{CALL}<|call|>", True),
        tools=["f"],
    )
    assert [call.name for call in found.tool_calls] == ["other"]
    assert any("other" in warning for warning in found.warnings)


def test_tool_specifications_are_names_too() -> None:
    """`tools` takes the specifications of the request as they are, in both shapes."""
    tools = [
        {"type": "function", "name": "f"},
        {"type": "function", "function": {"name": "g"}},
        {"type": "python"},
    ]
    first = f" to=g<|channel|>commentary<|message|>{CALL}<|end|>"
    second = "<|start|>assistant to=python<|message|>1<|call|>"
    found = parse(encode(first + second, control_tokens=True), tools=tools)
    assert [call.name for call in found.tool_calls] == ["g", "python"]
    assert not [warning for warning in found.warnings if "not among" in warning]


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ('{"a":1}', ['{"a":1}']),
        (' \n{"a":1}\n ', ['{"a":1}']),
        ("", ["{}"]),
        ("null", ["{}"]),
        ('{"a":1}}', ['{"a":1}']),
        ('{"a":1} That is it.', ['{"a":1}']),
        ('```json\n{"a":1}\n```', ['{"a":1}']),
        ('```\n{"a":1}', ['{"a":1}']),
        ('json{"a":1}', ['{"a":1}']),
        ('Arguments: {"a":1}', ['{"a":1}']),
        ('{"a":{"b":1}', []),
        ('"{\\"a\\": 1}"', ['{"a": 1}']),
        ('{"a":"x\ny"}', ['{"a": "x\\ny"}']),
        ('{"a":1}{"a":2}', ['{"a":1}', '{"a":2}']),
        ('{"a":1}{"a":1}', ['{"a":1}']),
        ('{"a":1}{"b":', ['{"a":1}']),
        ('{"a":"\\ud83d"}x', ['{"a":"\\ud83d"}']),
        ("[1, 2]", ["[1, 2]"]),
        ('{"a":1', []),
        ("{'a':1}", []),
        ("hello", []),
        (
            '{"a": NaN, "b": [Infinity, -Infinity, "NaN"]}',
            ['{"a": null, "b": [null, null, "NaN"]}'],
        ),
        ('{"a": 1e999, "b": "\n"}', ['{"a": null, "b": "\\n"}']),
        ('{"a": 1e999}', ['{"a": 1e999}']),
        ("NaN", []),
        ("42", ["42"]),
        ('"hello"', ['"hello"']),
        ("[" * 100_000, []),
        ('{"a":' + "1" * 5000 + "}", []),
    ],
)
def test_arguments(body: str, arguments: list[str]) -> None:
    """Complete JSON is found in what models put around it; anything else is no call."""
    found = parsed(f" to=functions.f<|channel|>commentary json<|message|>{body}<|call|>")
    assert found[3] == [("f", text) for text in arguments]
    assert found[4] == ("tool_calls" if arguments else "malformed")


@pytest.mark.parametrize("body", ["", "12", "nul", '{"a":1', "print("])
def test_cut_off_arguments_are_no_call(body: str) -> None:
    """When the tokens ran out, nothing that could go on is taken for complete."""
    for name in ("functions.f", "python"):
        found = parsed(
            f" to={name}<|channel|>commentary code<|message|>{body}", finish_reason="length"
        )
        assert found[3:] == ([], "length")


def test_python_code_is_left_alone() -> None:
    """The argument of the built-in python is code, not JSON."""
    code = "x = {'a': 1}\nprint(x)\n"
    assert parsed(f"<|channel|>analysis to=python code<|message|>{code}<|call|>")[3] == [
        ("python", code)
    ]


def test_several_calls() -> None:
    """All calls of a turn are surfaced, in order, with or without a proper start in between."""
    one = f"<|channel|>commentary to=functions.f json<|message|>{CALL}<|end|>"
    for between in (
        "<|start|>assistant",
        "",
        "commentary to=functions.g json<|message|>{}<|end|><|start|>assistant",
    ):
        names = [
            name for name, _ in parsed(one + between + one.replace("functions.f", "functions.h"))[3]
        ]
        assert names == (["f", "g", "h"] if "g" in between else ["f", "h"])


BEHIND_A_CALL = (
    # The output of the tool, made up, and an answer from it.
    '<|start|>functions.f to=assistant<|channel|>commentary<|message|>{"x": 1}<|end|>'
    "<|start|>assistant<|channel|>final<|message|>It is 1.<|return|>",
    "<|start|>assistant<|channel|>final<|message|>It is 1.",
    "<|channel|>final<|message|>It is 1.<|return|>",
    # The second half of a header, and calls.
    "commentary",
    "commentary to=functions.g json<|message|>{}<|call|>",
    " to=functions.g<|channel|>commentary<|message|>{}<|call|>",
    "<|start|>assistant<|channel|>commentary to=functions.g<|message|>{}<|call|>",
    "<|start|>assistant<|channel|>analysis<|message|>Now I wait.<|end|>",
    "<|channel|>",
)


@pytest.mark.parametrize("behind", BEHIND_A_CALL)
@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_what_stands_behind_a_finished_call_is_left_out(behind: str, finish_reason: str) -> None:
    """The call waits for its tool; what the model made up behind it is no answer and no call."""
    one = f"<|channel|>commentary to=functions.f json<|message|>{CALL}<|call|>"
    ids = encode(one + behind, control_tokens=True)
    halves = [[ids[:at], ids[at:]] for at in range(len(ids) + 1)]
    for chunks in (*halves, [[id_] for id_ in ids]):
        parser = StreamParser(tools=["f", "g"])
        events = [event for chunk in chunks for event in parser.feed(chunk)]
        completion = parser.close(finish_reason)
        events += parser.take_pending()

        assert [call.name for call in completion.tool_calls] == ["f"]
        assert (completion.final, completion.reasoning) == (None, None)
        assert completion.finish == "tool_calls"
        assert any("behind a finished tool call" in warning for warning in completion.warnings)
        assert {type(event) for event in events} == {ToolCallDelta}


@pytest.mark.parametrize(
    "call",
    [
        '<|channel|>commentary to=functions.f json<|message|>{"x": <|call|>',
        '<|channel|>commentary to= json<|message|>{"x": 1}<|call|>',
        '<|channel|>commentary <|constrain|>json<|message|>{"x": <|call|>',
    ],
)
@pytest.mark.parametrize("behind", BEHIND_A_CALL[:3])
def test_nothing_is_answered_behind_a_broken_call(call: str, behind: str) -> None:
    """No tool can run for it, so an answer from the tool's output is made up all the same."""
    found = parse(encode(call + behind, control_tokens=True), tools=["f", "g"])
    assert (found.final, found.tool_calls, found.finish) == (None, [], "malformed")
    assert any("behind a finished tool call" in warning for warning in found.warnings)


def test_a_call_token_elsewhere_ends_nothing() -> None:
    """Only a call has its tool's output behind it."""
    for message in ("<|channel|>analysis<|message|>t", "<|channel|>commentary<|message|>p", ""):
        found = parse(
            encode(
                f"{message}<|call|><|start|>assistant<|channel|>final<|message|>A<|return|>",
                control_tokens=True,
            )
        )
        assert (found.final, found.finish) == ("A", "stop")


def test_half_a_surrogate_pair_is_one_character() -> None:
    """However its bytes are split; a grammar that counts characters takes it for one too."""
    by_byte = {each: id_ for id_, each in enumerate(token_bytes()) if len(each) == 1}
    texts = {
        b"a\xed\xa0\xbdb": "a\ufffdb",
        b"\xed\xa0\xbd\xed\xb8\x80": "\ufffd\ufffd",
        "한국".encode(): "한국",
        b"\xed\xa0x": "\ufffd\ufffdx",
        b"\xedx": "\ufffdx",
        b"x\xed\xa0": "x",
        b"\xf0\x9f\xed\xa0\xbd": "\ufffd\ufffd",
    }
    header = encode("<|channel|>final<|message|>", control_tokens=True)
    for data, text in texts.items():
        ids = [*header, *(by_byte[data[at : at + 1]] for at in range(len(data))), RETURN]
        for at in range(len(ids)):
            parser = StreamParser()
            events = [*parser.feed(ids[:at]), *parser.feed(ids[at:])]
            assert parser.close().final == text
            assert "".join(getattr(event, "text", "") for event in events) == text


def test_nothing_behind_a_finished_call() -> None:
    """A stop token more, or a blank, is nothing to warn of."""
    one = f"<|channel|>commentary to=functions.f json<|message|>{CALL}<|call|>"
    for behind in ("", "<|return|>", "<|end|>", "\n", " <|endoftext|>"):
        found = parse(encode(one + behind, control_tokens=True))
        assert (len(found.tool_calls), found.warnings) == (1, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "<|channel|>final<|message|>A<|end|><|start|>user<|message|>Q<|end|>",
            ("A", None, None, [], "stop"),
        ),
        (
            "<|channel|>final<|message|>A<|return|><|channel|>final<|message|>B",
            ("A", None, None, [], "stop"),
        ),
        (
            "<|channel|>analysis<|message|>t<|return|><|channel|>final<|message|>B",
            ("B", None, "t", [], "stop"),
        ),
        ("<|channel|>analysis<|message|>t<|endoftext|>", (None, None, "t", [], "malformed")),
        (
            "<|channel|>final<|message|>A<|end|><|channel|>final<|message|>B",
            ("A\nB", None, None, [], "stop"),
        ),
        (
            "<|start|>python to=assistant<|channel|>analysis<|message|>4<|end|>",
            (None, None, None, [], "malformed"),
        ),
        ("<|channel|>response<|message|>A<|return|>", ("A", None, None, [], "stop")),
        (
            "<|channel|>response<|message|>A<|end|><|channel|>final<|message|>B",
            ("B", None, None, [], "stop"),
        ),
        ("<|channel|>thinking<|message|>t<|end|>", (None, None, "t", [], "malformed")),
        ("<|message|>A<|return|>", ("A", None, None, [], "stop")),
        (
            "<|channel|>analysis<|message|>t<|end|><|start|>assistant<|message|>A",
            ("A", None, "t", [], "stop"),
        ),
        ("<|channel|>analysis<|message|>t<|end|>A<|return|>", ("A", None, "t", [], "stop")),
        ("<|channel|>final The answer.<|return|>", (" The answer.", None, None, [], "stop")),
        (
            "<|channel|>analysis Hm.<|end|><|channel|>final<|message|>A",
            ("A", None, " Hm.", [], "stop"),
        ),
        (
            "<|channel|>final??<|end|><|start|>assistant<|channel|>final<|message|>A",
            ("A", None, None, [], "stop"),
        ),
        (
            "<|channel|>commentary to=functions.f json{}<|call|>",
            (None, None, None, [("f", "{}")], "tool_calls"),
        ),
        ("<|channel|>commentary<|message|>Wait.<|return|>", (None, "Wait.", None, [], "stop")),
        ("<|channel|>commentary<|message|>Wait.<|call|>", (None, "Wait.", None, [], "malformed")),
        (
            "<|channel|>commentary<|message|>{1}<|end|><|channel|>final<|message|>A",
            ("A", "{1}", None, [], "stop"),
        ),
        ("<|channel|>final<|message|>A<|call|>", ("A", None, None, [], "stop")),
        (
            " to=functions.f<|message|>{'a':'<|end|> x'}<|call|>",
            (None, None, None, [], "malformed"),
        ),
        (
            "<|channel|>analysis to=functions.f <|constrain|>{}",
            (None, None, None, [("f", "{}")], "tool_calls"),
        ),
        ("{}<|call|>", (None, None, None, [], "malformed")),
        ("", (None, None, None, [], "malformed")),
        ("<|endoftext|>", (None, None, None, [], "malformed")),
    ],
)
def test_other_forms(
    text: str, expected: tuple[str | None, str | None, str | None, list[tuple[str, str]], str]
) -> None:
    """Messages without a start, a channel or an end, and turns that are not the model's."""
    final, *rest = parsed(text)
    assert (
        final and final.strip(),
        *(part.strip() if isinstance(part, str) else part for part in rest),
    ) == tuple(part.strip() if isinstance(part, str) else part for part in expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "analysisUser asks 2+2.assistantfinal2 + 2 = 4.",
            ("2 + 2 = 4.", None, "User asks 2+2.", [], "stop"),
        ),
        ("assistantfinalHello", ("Hello", None, None, [], "stop")),
        ("finalHello there", ("Hello there", None, None, [], "stop")),
        ("analysisWe need to", (None, None, "We need to", [], "malformed")),
        (
            "assistantcommentary to=functions.f json{}",
            (None, None, None, [("f", "{}")], "tool_calls"),
        ),
        (
            "assistantcommentary to=functions.fjson{}",
            (None, None, None, [("f", "{}")], "tool_calls"),
        ),
        ("commentary to=functions.f json{}", (None, None, None, [("f", "{}")], "tool_calls")),
        (
            "assistant to=functions.f commentary json{}",
            (None, None, None, [("f", "{}")], "tool_calls"),
        ),
        (
            "assistantanalysis to=functions.f code{}",
            (None, None, None, [("f", "{}")], "tool_calls"),
        ),
        (
            "analysisX.assistantcommentaryWait.assistantcommentary to=functions.f json{}",
            (None, "Wait.", "X.", [("f", "{}")], "tool_calls"),
        ),
        (
            "analysis to=python codeprint(1)",
            (None, None, None, [("python", "print(1)")], "tool_calls"),
        ),
        ('assistantcode{"path":""}', (None, None, None, [], "malformed")),
        ("final answer: 42", ("final answer: 42", None, None, [], "stop")),
        ("analysis of data", ("analysis of data", None, None, [], "stop")),
        ("finally done", ("finally done", None, None, [], "stop")),
        ("assistants help", ("assistants help", None, None, [], "stop")),
    ],
)
def test_stripped_control_tokens(text: str, expected: tuple[object, ...]) -> None:
    """Text without control tokens is taken apart if that is certain, else it is the answer."""
    assert parsed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "<|start|>assis",
        "<|channel|>",
        "<|channel|>fin",
        "<|channel|>commentary to=func",
        "<|start|>",
        "assist",
    ],
)
def test_cut_off_header_is_not_shown(text: str) -> None:
    """When the tokens ran out in a header, its beginning is not taken for an answer."""
    found = parsed(f"<|channel|>analysis<|message|>t<|end|>{text}", finish_reason="length")
    assert found == (None, None, "t", [], "length")


def test_text_streams_as_it_comes() -> None:
    """The answer is handed out id by id, and not held back to the end."""
    parser = StreamParser()
    parser.feed(encode("<|channel|>final<|message|>", control_tokens=True))
    assert [parser.feed([token]) for token in encode("one two")] == [
        [TextDelta("one")],
        [TextDelta(" two")],
    ]


def test_split_emoji_streams_whole() -> None:
    """A character that spans tokens comes out when it is complete."""
    parser = StreamParser()
    parser.feed(encode("<|channel|>final<|message|>", control_tokens=True))
    ids = encode("\N{MELTING FACE}")
    assert len(ids) > 1
    deltas = [event for token in ids for event in parser.feed([token])]
    assert deltas == [TextDelta("\N{MELTING FACE}")]


def test_close_twice() -> None:
    """Closing again gives the same completion, and no delta twice."""
    parser = StreamParser()
    parser.feed(encode("plain"))
    assert parser.close() is parser.close("length")
    assert parser.take_pending() == [TextDelta("plain")]
    assert parser.take_pending() == []


def test_feeding_a_closed_parser() -> None:
    """Ids that would go nowhere are an error of the caller."""
    parser = StreamParser()
    parser.feed(encode("plain"))
    parser.close()
    with pytest.raises(RuntimeError, match="closed"):
        parser.feed(encode(" more"))


def test_arguments_that_are_no_json_say_so() -> None:
    """What had to become null, or is no object, is surfaced with a warning."""
    for body, words in (('{"a": NaN}', "not plain JSON"), ("42", "not a JSON object")):
        found = parse(
            encode(
                f" to=functions.f<|channel|>commentary<|message|>{body}<|call|>",
                control_tokens=True,
            )
        )
        assert [words in warning for warning in found.warnings] == [True]


@pytest.mark.parametrize("text", ["The assistant said", "My assistant 7"])
def test_the_word_assistant_in_an_answer_stays(text: str) -> None:
    """It is part of a header at the beginning of a text only."""
    assert parsed(text)[0] == text


IDS = st.one_of(
    st.integers(0, 201_200),
    st.sampled_from(sorted(CONTROL_TOKENS.values())[:15]),
    st.sampled_from(
        [
            i
            for word in (
                "assistant",
                "analysis",
                "final",
                "commentary",
                " to=functions.f",
                "json",
                "{}",
            )
            for i in encode(word)
        ]
    ),
    st.integers(-5, 300_000) | st.just(2**70),
)


def call_deltas(
    text: str, *, finish_reason: str = "stop"
) -> tuple[list[tuple[int, str | None, str]], Completion]:
    """The deltas of tool calls, id by id, and the completion."""
    chunks = [[token] for token in encode(text, control_tokens=True)]
    events, completion = streamed(chunks, finish_reason=finish_reason)
    return [
        (e.index, e.name, e.arguments) for e in events if isinstance(e, ToolCallDelta)
    ], completion


HEADER = " to=functions.f<|channel|>commentary <|constrain|>json<|message|>"


def test_arguments_stream() -> None:
    """Arguments come piece by piece, the name with the first; blanks around them are nobody's."""
    deltas, _ = call_deltas(HEADER + ' {"text": "one two three"} \n<|call|>')
    assert len(deltas) > 4
    assert [name for _, name, _ in deltas] == ["f"] + [None] * (len(deltas) - 1)
    assert "".join(arguments for _, _, arguments in deltas) == '{"text": "one two three"}'


def test_code_streams() -> None:
    """The code of the built-in python comes piece by piece, as it is."""
    deltas, _ = call_deltas(" to=python<|channel|>analysis<|message|> print(1)\nprint(2)\n<|call|>")
    assert len(deltas) > 3
    assert "".join(arguments for _, _, arguments in deltas) == " print(1)\nprint(2)\n"


def test_repaired_arguments_begin_anew() -> None:
    """A call whose arguments had to be repaired is handed out again, whole, under its index."""
    deltas, completion = call_deltas(HEADER + '{"a": 1} as asked<|call|>')
    assert deltas[-1] == (0, "f", '{"a": 1}')
    assert [name for _, name, _ in deltas].count("f") == 2
    assert [call.arguments for call in completion.tool_calls] == ['{"a": 1}']


def test_a_call_that_is_cut_off_was_no_call() -> None:
    """What streamed of a call that the length limit cut is not in the completion."""
    deltas, completion = call_deltas(HEADER + '{"a": [1, 2', finish_reason="length")
    assert "".join(arguments for _, _, arguments in deltas) == '{"a": [1, 2'
    assert (completion.tool_calls, completion.finish) == ([], "length")


def test_arguments_that_begin_oddly_wait() -> None:
    """Arguments that do not begin as an object come once they can be read."""
    deltas, _ = call_deltas(HEADER + '```json\n{"a": 1}\n```<|call|>')
    assert deltas == [(0, "f", '{"a": 1}')]


@given(st.lists(IDS, max_size=60), st.sampled_from(["stop", "length", "abort"]))
def test_any_ids(ids: list[int], reason: str) -> None:
    """No ids make the parser raise, and the deltas add up to the whole, id by id."""
    found = parse(ids, finish_reason=reason)
    events, completed = streamed([[token] for token in ids], finish_reason=reason)
    assert completed == found
    assert joined(events, found) == whole(found)


@given(RANDOM, st.booleans(), st.lists(st.integers(1, 40), max_size=30))
def test_mutants(random: Random, cut: bool, sizes: list[int]) -> None:
    """Random edits of completions leak no control token, and stream as they parse in any split."""
    ids = mutant(random, completion(random))
    reason = "length" if cut else "stop"
    found = parse(ids, tools=FUNCTIONS, finish_reason=reason)
    chunks, position = [], 0
    for size in sizes:
        chunks.append(ids[position : position + size])
        position += size
    events, completed = streamed([*chunks, ids[position:]], finish_reason=reason)
    assert joined(events, completed) == whole(completed)
    assert not [part for part in surfaced(found) if CONTROL.search(part)]


def test_streaming_is_linear() -> None:
    """The work for each id is the same however long the completion: no text is read again."""

    def operations(length: int) -> int:
        parser = StreamParser()
        ids = encode("<|channel|>final<|message|>", control_tokens=True) + encode(" word") * length
        count = 0

        def profile(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(profile)
        try:
            for token in ids:
                parser.feed([token])
        finally:
            sys.setprofile(None)
        return count

    short, long = operations(500), operations(4000)
    assert long < 8.5 * short


def test_good_completions_have_no_warnings() -> None:
    """What is well-formed is taken without a word, so that warnings mean something."""
    random = Random(4)
    for _ in range(200):
        found = parse(completion(random))
        assert not [warning for warning in found.warnings if "header" in warning], found.warnings


def test_states() -> None:
    """The parser goes from headers to contents, until the turn is over and the parser closed."""
    parser = StreamParser()
    states = []
    for text in ("<|channel|>final", "<|message|>", "A", "<|end|>", "<|return|>", "<|start|>"):
        parser.feed(encode(text, control_tokens=True))
        states.append(parser.state)
    assert states == [
        State.HEADER,
        State.CONTENT,
        State.CONTENT,
        State.HEADER,
        State.OVER,
        State.OVER,
    ]
    parser.close()
    assert parser.state is State.CLOSED


@pytest.mark.parametrize("text", ["assistantfınalHello", "analyſisWe think.assistantfinalHello"])
def test_letters_that_only_look_alike(text: str) -> None:
    """A channel in letters that match without regard to case does not make the parser raise."""
    assert parsed(text)[0] == "Hello"
