"""The options of a call: what each one is, which APIs have it, and which values fit.

An option is one field of `GenerationOptions`. Type checkers and editors read its type there, LM
reads the rest from its metadata: `On` names the APIs, a check says which values fit, `SameAs`,
`Holds` and `MERGED` say how it meets other options. To add an option, add a field.

The values of most options are the server's to judge, as compatible servers have ranges of their
own. Checked here is what is the same everywhere, or would otherwise fail in an unclear way.
"""

# Without `from __future__ import annotations`: the fields' metadata is read when this is imported,
# and strings would have to be evaluated first.

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeAlias, TypedDict, TypeGuard, get_args

from synth_ai.errors import OptionError
from synth_ai.timeout import Timeout

# --- checks -----------------------------------------------------------------------------------


class Check(Protocol):
    """Says which values an option takes.

    `str()` of those here says it in words, for errors and for the table in docs/options.md.
    """

    def check(self, name: str, value: object) -> None:
        """Refuse a value that does not fit; None never gets here.

        Raises:
            OptionError: it does not fit.
        """


@dataclass(frozen=True, slots=True)
class Number:
    """Takes a number of a range, both ends included."""

    low: float
    high: float

    def check(self, name: str, value: object) -> None:
        fits = _is_number(value) and self.low <= value <= self.high
        if not fits:
            raise OptionError(f"{name} must be {self}, not {value!r}.")

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """Takes a whole number from `low` on."""

    low: int

    def check(self, name: str, value: object) -> None:
        if not _is_whole(value) or value < self.low:
            raise OptionError(f"{name} must be {self}, not {value!r}.")

    def __str__(self) -> str:
        return f"a whole number from {self.low}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Takes one of a few words.

    Attributes:
        words: the words.
        owner: whose words they are, where others have more of them.
    """

    words: tuple[str, ...]
    owner: str | None = None

    def check(self, name: str, value: object) -> None:
        if value not in self.words:
            raise OptionError(f"{name} must be {self}, not {value!r}.")

    def __str__(self) -> str:
        words = "one of " + ", ".join(self.words)
        if self.owner is not None:
            words += f" on {self.owner}"
        return words


class Texts:
    """Takes a string or several, none of them empty: one would stop before the first letter."""

    def check(self, name: str, value: object) -> None:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, (list, tuple)) or not all(map(_is_text, texts)):
            raise OptionError(f"{name} must be {self}, not {value!r}.")

    def __str__(self) -> str:
        return "a string or a list of strings that are not empty"


@dataclass(frozen=True, slots=True)
class Seconds:
    """Takes a time limit: seconds, or a `Timeout`.

    Attributes:
        phases: whether a call connects to a server and waits for its first byte.
    """

    phases: bool = True

    def check(self, name: str, value: object) -> None:
        timeout = Timeout.of(value)
        has_phases = bool(timeout.connect or timeout.first_byte)
        if has_phases and not self.phases:
            raise OptionError(
                f"{name}=Timeout(connect=, first_byte=) is for chat and Responses servers. On "
                "harmony a call takes a total; RemoteEngine(timeout=) has its own limit for a "
                "silent server."
            )

    def __str__(self) -> str:
        return "seconds, or a Timeout"


class Dictionary:
    """Takes a dictionary from names to values."""

    def check(self, name: str, value: object) -> None:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise OptionError(f"{name} must be {self}, not {value!r:.200}.")

    def __str__(self) -> str:
        return "a dictionary of names to values"


class Headers(Dictionary):
    """Takes HTTP headers: names of tokens, values of ASCII in one line, without blanks around them.

    https://datatracker.ietf.org/doc/html/rfc9110#section-5
    """

    _NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

    # What is empty, or begins and ends with a letter or a sign. Blanks at its ends are no part of a
    # value: some HTTP libraries refuse them, others send them.
    #   "", "a", "a b", "a\tb"  -> fits
    #   " a", "a ", " ", "a\n"  -> does not
    _VALUE = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?")

    def check(self, name: str, value: object) -> None:
        super().check(name, value)
        assert isinstance(value, Mapping)
        for header, text in value.items():
            if self._can_be_sent(header, text):
                continue
            # The value may be a key, so it is not shown.
            raise OptionError(
                f"{name}: {header!r} cannot be sent; a header is a name and a string of ASCII in "
                "one line, without blanks at its ends."
            )

    def __str__(self) -> str:
        return "a dictionary of HTTP headers"

    def _can_be_sent(self, header: str, text: object) -> bool:
        if not self._NAME.fullmatch(header) or not isinstance(text, str):
            return False
        return self._VALUE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class DictionaryOfTheAPI:
    """Takes a dictionary in the API's own form, where people may mean something else by the name.

    Attributes:
        hint: what to write instead of anything but a dictionary.
    """

    hint: str

    def check(self, name: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise OptionError(f"{name} must be {self}, not {value!r:.100}. {self.hint}")

    def __str__(self) -> str:
        return "a dictionary of the API's own"


def _is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number; True and False are integers to Python, not to us."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


# --- metadata ---------------------------------------------------------------------------------


class On:
    """Names APIs that have an option.

    Args:
        *apis: their names.
        check: which values fit there; without one the server decides.
    """

    def __init__(self, *apis: str, check: Check | None = None) -> None:
        self.apis = apis
        self.check = check


@dataclass(frozen=True, slots=True)
class SameAs:
    """Says that an option is an alias: the API's own name for another option.

    `max_output_tokens` is what Responses calls `max_tokens`: whoever gives both gets an error.

    Attributes:
        name: the name of the other option.
        keeps_name: whether the request has the name that the caller wrote. Some servers take one
            name alone, and which one is not known here. Otherwise all is sent under one name.
    """

    name: str
    keeps_name: bool = False


@dataclass(frozen=True, slots=True)
class Holds:
    """Says that a key of a dictionary means the same as an option, so that only one may be given.

    `reasoning={"effort": "low"}` holds `reasoning_effort`.

    Attributes:
        key: the key in the dictionary.
        name: the name of the option that it means.
    """

    key: str
    name: str


class Merged:
    """Says that the keys of a dictionary are settings of their own.

    A call's keys then come on top of the LM's; other options of a call replace the LM's.
    """


MERGED = Merged()

EVERYWHERE = On("chat", "responses", "harmony")
HOSTED = On("chat", "responses")
CHAT = On("chat")
RESPONSES = On("responses")
HARMONY = On("harmony")

_HOSTED_EFFORTS = Choice(("none", "minimal", "low", "medium", "high", "xhigh", "max"))
_GPT_OSS_EFFORTS = Choice(("low", "medium", "high"), owner="harmony")

JSONObject: TypeAlias = Mapping[str, Any]


class GenerationOptions(TypedDict, total=False):
    """Options of an LM or of one call. None takes an option back to the backend's own default.

    Options of one API have the names that it gives them; the first ones here mean the same
    everywhere. `temperature` 0 to 2, `max_tokens` the most tokens to generate, reasoning included,
    `reasoning_effort` such as `low`, `medium`, `high`, `stop` strings that end the answer,
    `tool_choice` `none`, `auto`, `required` or the name of a tool, `include_reasoning` False for
    answers without it, `timeout` seconds for a whole call or a `Timeout`, `truncation` `auto` to
    leave out the oldest turns of a conversation that no longer fits, `reask` how often the model
    may try again if its answer does not fit `response_model`.
    """

    # Every API, each with a name of its own for some of them.
    temperature: Annotated[float | None, On(*EVERYWHERE.apis, check=Number(0, 2))]
    max_tokens: Annotated[int | None, On(*EVERYWHERE.apis, check=WholeNumber(1))]
    reasoning_effort: Annotated[
        str | None,
        On(*HOSTED.apis, check=_HOSTED_EFFORTS),
        On("harmony", check=_GPT_OSS_EFFORTS),
    ]
    stop: Annotated[str | Sequence[str] | None, On("chat", "harmony", check=Texts())]
    tool_choice: Annotated[str | JSONObject | None, EVERYWHERE]
    top_p: Annotated[float | None, EVERYWHERE]
    logprobs: Annotated[bool | None, EVERYWHERE]
    top_logprobs: Annotated[int | None, EVERYWHERE]

    # LM's own: no backend sees them.
    include_reasoning: Annotated[bool | None, EVERYWHERE]
    timeout: Annotated[
        Timeout | float | None,
        On(*HOSTED.apis, check=Seconds()),
        On("harmony", check=Seconds(phases=False)),
    ]
    truncation: Annotated[str | None, On(*EVERYWHERE.apis, check=Choice(("auto", "disabled")))]
    reask: Annotated[int | None, On(*EVERYWHERE.apis, check=WholeNumber(0))]

    # Sampling, where the engine or the server has it.
    top_k: Annotated[int | None, HARMONY]
    min_p: Annotated[float | None, HARMONY]
    seed: Annotated[int | None, On("chat", "harmony")]
    presence_penalty: Annotated[float | None, On("chat", "harmony")]
    frequency_penalty: Annotated[float | None, On("chat", "harmony")]
    repetition_penalty: Annotated[float | None, HARMONY]
    logit_bias: Annotated[Mapping[str, int] | None, CHAT]

    # gpt-oss: the lines of its system message, and the most tokens of reasoning before an answer
    # of a given shape.
    reasoning_budget: Annotated[int | None, HARMONY]
    knowledge_cutoff: Annotated[str | None, HARMONY]
    model_identity: Annotated[str | None, HARMONY]

    # Both of OpenAI's APIs.
    metadata: Annotated[JSONObject | None, On(*HOSTED.apis, check=Dictionary()), MERGED]
    moderation: Annotated[JSONObject | None, HOSTED]
    parallel_tool_calls: Annotated[bool | None, HOSTED]
    prompt_cache_key: Annotated[str | None, HOSTED]
    prompt_cache_options: Annotated[JSONObject | None, HOSTED]
    prompt_cache_retention: Annotated[str | None, HOSTED]
    safety_identifier: Annotated[str | None, HOSTED]
    service_tier: Annotated[str | None, HOSTED]
    store: Annotated[bool | None, HOSTED]
    stream_options: Annotated[JSONObject | None, On(*HOSTED.apis, check=Dictionary()), MERGED]
    user: Annotated[str | None, HOSTED]
    verbosity: Annotated[str | None, HOSTED]

    # Chat Completions.
    audio: Annotated[JSONObject | None, CHAT]
    max_completion_tokens: Annotated[
        int | None,
        On("chat", check=WholeNumber(1)),
        # OpenAI's newer models and Azure's /openai/v1 refuse `max_tokens`, other servers this.
        SameAs("max_tokens", keeps_name=True),
    ]
    modalities: Annotated[Sequence[str] | None, CHAT]
    prediction: Annotated[JSONObject | None, CHAT]
    response_format: Annotated[
        JSONObject | None,
        On(
            "chat", check=DictionaryOfTheAPI("Use response_model=, which takes a type or a schema.")
        ),
    ]
    web_search_options: Annotated[JSONObject | None, CHAT]

    # Responses.
    access_programs: Annotated[JSONObject | None, RESPONSES]
    background: Annotated[bool | None, RESPONSES]
    background_options: Annotated[JSONObject | None, RESPONSES]
    context_management: Annotated[Sequence[JSONObject] | None, RESPONSES]
    image: Annotated[
        JSONObject | None,
        On("responses", check=DictionaryOfTheAPI("Pictures go into images=[...].")),
    ]
    include: Annotated[Sequence[str] | None, RESPONSES]
    max_output_tokens: Annotated[int | None, RESPONSES, SameAs("max_tokens")]
    max_tool_calls: Annotated[int | None, RESPONSES]
    prompt: Annotated[JSONObject | None, RESPONSES]
    reasoning: Annotated[
        JSONObject | None,
        On("responses", check=Dictionary()),
        MERGED,
        Holds("effort", "reasoning_effort"),
    ]
    text: Annotated[
        JSONObject | None,
        On("responses", check=Dictionary()),
        MERGED,
        Holds("verbosity", "verbosity"),
    ]

    # What goes along with any call to a server.
    extra_body: Annotated[JSONObject | None, On(*HOSTED.apis, check=Dictionary()), MERGED]
    extra_headers: Annotated[Mapping[str, str] | None, On(*HOSTED.apis, check=Headers()), MERGED]
    extra_query: Annotated[JSONObject | None, On(*HOSTED.apis, check=Dictionary()), MERGED]


# --- the same as a table ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an API.

    Attributes:
        name: what callers write.
        check: which values fit; without one the backend decides.
        same_as: the option that it is under another name; None if it is one itself.
        holds: the key of a dictionary that is an option, too.
        is_merged: whether a call's keys come on top of the LM's.
        keeps_name: whether an option that is another one goes out under the name that was given.
    """

    name: str
    check: Check | None = None
    same_as: str | None = None
    holds: Holds | None = None
    is_merged: bool = False
    keeps_name: bool = False


#: Options that LM carries out itself, so that every API has them.
LM_OPTIONS = ("include_reasoning", "timeout", "truncation", "reask")

#: Options that mean the same on every API. A vendor of your own has them unless it says otherwise.
COMMON_OPTIONS = ("temperature", "max_tokens", "reasoning_effort", "stop", "tool_choice")


def options_of(api: str) -> dict[str, Option]:
    """Return the options that the field metadata gives an API, by name."""
    options = {}
    for name, metadata in _METADATA.items():
        for entry in metadata:
            if isinstance(entry, On) and api in entry.apis:
                options[name] = _option(name, metadata, entry.check)
    return options


def options_named(*options: str | Option) -> dict[str, Option]:
    """Return options by name, for an API of your own.

    Args:
        *options: names of `GenerationOptions`, and options that it does not have.

    Raises:
        OptionError: a name is not among them.
    """
    found = {}
    for option in options:
        if isinstance(option, str):
            option = _known_option(option)
        found[option.name] = option
    return found


def apis_with(option: str) -> list[str]:
    """Return the names of the APIs that the field metadata of an option lists."""
    apis: list[str] = []
    for entry in _METADATA.get(option, ()):
        if isinstance(entry, On):
            apis += entry.apis
    return apis


def _known_option(name: str) -> Option:
    metadata = _METADATA.get(name)
    if metadata is None:
        raise OptionError(
            f"{name!r} must be an option of GenerationOptions; describe one of your own by "
            f"Option({name!r})."
        )
    checks = [entry.check for entry in metadata if isinstance(entry, On)]
    return _option(name, metadata, checks[0])


def _option(name: str, metadata: Iterable[object], check: Check | None) -> Option:
    same_as = None
    holds = None
    is_merged = False
    keeps_name = False
    for entry in metadata:
        if isinstance(entry, SameAs):
            same_as = entry.name
            keeps_name = entry.keeps_name
        elif isinstance(entry, Holds):
            holds = entry
        elif isinstance(entry, Merged):
            is_merged = True
    return Option(name, check, same_as, holds, is_merged, keeps_name)


def _read_metadata() -> dict[str, tuple[object, ...]]:
    metadata = {}
    for name, annotation in GenerationOptions.__annotations__.items():
        _, *entries = get_args(annotation)
        metadata[name] = tuple(entries)
    return metadata


_METADATA = _read_metadata()


def _find_twins() -> dict[str, tuple[str, ...]]:
    twins: dict[str, tuple[str, ...]] = {}
    for name, metadata in _METADATA.items():
        for entry in metadata:
            if isinstance(entry, SameAs) and entry.keeps_name:
                twins[name] = (*twins.get(name, ()), entry.name)
                twins[entry.name] = (*twins.get(entry.name, ()), name)
    return twins


#: The other names of an option under each of which it may go out. Only one of them is ever given.
TWINS = _find_twins()
