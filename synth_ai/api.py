"""What LM must know of an API, in one object: its options, and who keeps the conversation.

A backend has its API as `VendorBase.api`. LM, the store and the conversations ask this object, and
never which API it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from synth_ai.errors import OptionError, did_you_mean
from synth_ai.options import (
    COMMON_OPTIONS,
    LM_OPTIONS,
    TWINS,
    GenerationOptions,
    Option,
    apis_with,
    options_named,
)

#: Names that LM uses itself, and what to write instead.
RESERVED: Mapping[str, str] = {
    "input": "Give the prompt as positional strings, messages= or tool_outputs=.",
    "instructions": ("Give the system message as the first of two strings, or as system_message=."),
    "stream": "Use stream_async() or stream_sync().",
    "previous_response_id": (
        "It goes to a call, not to the LM: lm.respond(..., previous_response_id=...)."
    ),
    "conversation": (
        "Branches are addressed by response id: previous_response_id=, or lm.fork(response_id)."
    ),
    "n": (
        "Ask n times: respond_batch([prompt] * n), each with a seed= of its own where you set one. "
        "Each answer then has an id to continue from."
    ),
    "messages": "It goes to a call, not to the LM: lm.respond(messages=...).",
    "continue_known": "It goes to a call, not to the LM: lm.respond(..., continue_known=True).",
    "user_message": "It goes to a call, not to the LM: lm.respond(user_message=...).",
    "images": "They go to a call, not to the LM: lm.respond(..., images=[...]).",
    "tool_outputs": "They go to a call, not to the LM: lm.respond(tool_outputs=...).",
    "auto_store": (
        "The LM's own is auto_store_responses=; auto_store= goes to a call: "
        "lm.respond(..., auto_store=False)."
    ),
    "model": "An LM speaks to one model; make another LM for another.",
    "functions": "Use tools=.",
    "function_call": "Use tool_choice=.",
}

#: Names from elsewhere that mean something here, if the API has no option of that name.
SUGGESTIONS: Mapping[str, str] = {
    "approve": "It is for run_tools() and stream_tools().",
    "max_cost": "Give it to LM(max_cost=...), or to run_tools() and stream_tools().",
    "max_rounds": "It is for run_tools() and stream_tools().",
    "on_error": "It is for run_tools() and stream_tools().",
    "on_step": "It is for run_tools() and stream_tools().",
    "system": "Give the system message as the first of two strings, or as system_message=.",
    "system_prompt": "Give the system message as the first of two strings, or as system_message=.",
    "image": "Pictures go into images=[...].",
    "max_output_tokens": "Use max_tokens=, which is the same on every API.",
    "max_completion_tokens": "Use max_tokens=, which is the same on every API.",
    "response_format": "Use response_model=, which takes a type or a schema.",
    "text_format": "Use response_model=, which takes a type or a schema.",
    "retry": "It goes to the LM, not to a call: LM(..., retry=5).",
    "max_retries": "Use retry= of the LM: a number of tries, or a RetryPolicy.",
    "organization": (
        "Set OPENAI_ORG_ID in the environment, or give extra_headers={'OpenAI-Organization': ...}."
    ),
    "project": (
        "Set OPENAI_PROJECT_ID in the environment, or give extra_headers={'OpenAI-Project': ...}."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class API:
    """An API, as LM needs to know it.

    Attributes:
        name: what responses and turns have as their `api_type`.
        options: the options it takes, by name; those that mean the same everywhere by default. Make
            them with `options_named("temperature", "top_k", Option("thinking"))`. LM's own options,
            such as `timeout`, need not be among them.
        keeps_responses: whether its servers keep responses, so that a call may continue from an id
            that only the server knows. Whether a server has kept one, each response says itself, in
            `stored_on_server`.
        chains: whether a call continues the one before unless it says otherwise.
        truncates: whether the server carries out `truncation=` itself.
        takes_unknown_options: whether `extra_body=` gets an option there that is not listed here.
        ends_at_a_call: whether a turn ends with its first tool call, so that there is never another
            beside it.
    """

    name: str
    options: Mapping[str, Option] = field(default_factory=lambda: options_named(*COMMON_OPTIONS))
    keeps_responses: bool = False
    chains: bool = False
    truncates: bool = False
    takes_unknown_options: bool = False
    ends_at_a_call: bool = False

    def accepts(self, option: str) -> bool:
        """Tell whether the API takes an option, LM's own ones included."""
        return option in self.options or option in LM_OPTIONS

    def read_options(self, given: Mapping[str, Any]) -> GenerationOptions:
        """Check options and give each the one name that it has here.

        Args:
            given: the options by the names that callers may write.

        Raises:
            OptionError: a name is unknown to this API or belongs to LM itself, an option is given
                twice under two names, or a value does not fit.
        """
        options: dict[str, Any] = {}
        for name, value in given.items():
            self._check_name(name)
            own_name = self._own_name(name)
            if value is None:
                options.setdefault(own_name, None)
                continue
            for other in (own_name, *TWINS.get(own_name, ())):
                if options.get(other) is not None:
                    raise OptionError(
                        f"{name} and {other} are the same option here; give one of them."
                    )
            options[own_name] = value

        self._check_values(options)
        for name in list(options):
            self._take_out_held(options, self._option(name))
        self._check_values(options)
        return cast("GenerationOptions", options)

    def merge_options(
        self, defaults: GenerationOptions, given: GenerationOptions
    ) -> GenerationOptions:
        """Put a call's options over the LM's; None takes one back to the backend's own default.

        Raises:
            OptionError: the two contradict each other.
        """
        below: dict[str, Any] = dict(defaults)
        above: dict[str, Any] = dict(given)
        for name in above:
            for twin in TWINS.get(name, ()):
                below.pop(twin, None)
        merged = {**below, **above}
        for name in below.keys() & above.keys():
            both_are_given = below[name] is not None and above[name] is not None
            if both_are_given and self._option(name).is_merged:
                merged[name] = _merge_keys(name, below[name], above[name])

        options = {name: value for name, value in merged.items() if value is not None}
        _check_logprobs(options)
        return cast("GenerationOptions", options)

    def _own_name(self, name: str) -> str:
        """Return the name that an option has here."""
        option = self._option(name)
        if option.same_as is None or option.keeps_name:
            return name
        return option.same_as

    def _option(self, name: str) -> Option:
        option = self.options.get(name)
        if option is None:
            option = options_named(name)[name]  # one of LM's own
        return option

    def _check_values(self, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            check = self._option(name).check
            if value is not None and check is not None:
                check.check(name, value)
        _check_logprobs(options)

    def _take_out_held(self, options: dict[str, Any], option: Option) -> None:
        """Move what a dictionary holds of another option to that one's own name.

        ::

            {"reasoning": {"effort": "low", "summary": "auto"}}
            ->  {"reasoning": {"summary": "auto"}, "reasoning_effort": "low"}
        """
        if option.holds is None:
            return

        key, name = option.holds.key, option.holds.name
        dictionary = options[option.name]
        if dictionary is None:
            # Taking the dictionary back takes this back, too.
            options.setdefault(name, None)
            return
        if key not in dictionary:
            return

        held = dictionary[key]
        if options.get(name) not in (None, held):
            raise OptionError(
                f"{name}={options[name]!r} and {option.name}={{{key!r}: {held!r}}} "
                "contradict each other."
            )
        options[name] = held
        options[option.name] = {other: value for other, value in dictionary.items() if other != key}

    def _check_name(self, name: str) -> None:
        """Refuse an option that this API does not have, with the way out or the nearest name."""
        if self.accepts(name):
            return
        if name in RESERVED:
            raise OptionError(f"{name}= is not an option here. {RESERVED[name]}")
        if name in SUGGESTIONS:
            raise OptionError(
                f"{name}= is not an option of the {self.name} API. {SUGGESTIONS[name]}"
            )

        elsewhere = apis_with(name)
        if elsewhere:
            way_out = f"Leave it out, or use api={elsewhere[0]!r}."
            if name == "stop":
                way_out = f"Cut the answer yourself, or use api={elsewhere[0]!r}."
            elif self.takes_unknown_options:
                way_out += f" A server that knows it takes it in extra_body={{{name!r}: ...}}."
            raise OptionError(
                f"{name}= is an option of {_join(elsewhere)}, which the {self.name} API "
                f"does not have. {way_out}"
            )

        hint = did_you_mean(name, [*self.options, *LM_OPTIONS])
        if self.takes_unknown_options:
            hint += " What the SDK does not know yet goes through extra_body={...}."
        raise OptionError(f"{name}= is not an option of the {self.name} API.{hint}")


def _join(names: list[str]) -> str:
    """Join names as a sentence has them: `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _merge_keys(name: str, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    if name != "extra_headers":
        return {**below, **above}

    # HTTP ignores the case of a header's name.
    replaced = {header.lower() for header in above}
    kept = {header: value for header, value in below.items() if header.lower() not in replaced}
    return {**kept, **above}


def _check_logprobs(options: Mapping[str, Any]) -> None:
    top_logprobs = options.get("top_logprobs")
    if options.get("logprobs") is False and top_logprobs:
        raise OptionError(
            f"logprobs=False and top_logprobs={top_logprobs!r} contradict each other; "
            "top_logprobs=None takes the LM's own back."
        )
