"""The arguments of an LM and of its calls, written once for all that take them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from synth_ai.engines.base import Engine
from synth_ai.images import Image
from synth_ai.lm.api_keys import AskKey
from synth_ai.lm.compaction import Compact
from synth_ai.lm.prices import Price
from synth_ai.lm.prompt import ToolOutputs
from synth_ai.lm.retry import RetryPolicy
from synth_ai.lm.tools import ToolLike
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.lm.vendors.registry import Transport
from synth_ai.options import GenerationOptions
from synth_ai.store.base import ResponseStore

Method = TypeVar("Method", bound=Callable[..., Any])


class LMArguments(GenerationOptions, total=False):
    """What `LM` takes beside the model and `response_model`; see there."""

    vendor: str | VendorBase | None
    api: str
    use_responses_api: bool | None
    auto_store_responses: bool | None
    base_url: str | None
    api_key: str | AskKey | None
    engine: Engine | Mapping[str, Any] | str | None
    response_store: str | os.PathLike[str] | ResponseStore | bool | None
    system_message: str | None
    tools: Sequence[ToolLike] | None
    retry: RetryPolicy | int | bool | None
    max_concurrency: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    prices: Mapping[str, Price | Mapping[str, float]] | None
    max_cost: float | None
    transport: Transport | None
    max_response_bytes: int | None
    compact: Compact | None
    tags: Mapping[str, Any] | None
    cache: bool


class UnshapedArguments(GenerationOptions, total=False):
    """The arguments of a call but for `response_model`, which decides the type of the answer.

    Methods name that one beside these, as only a parameter tells a type checker what is returned.
    """

    system_message: str | None
    user_message: str | None
    messages: Sequence[Mapping[str, Any]] | None
    continue_known: bool
    images: Sequence[Image]
    tools: Sequence[ToolLike] | None
    tool_outputs: ToolOutputs | None
    previous_response_id: str | None
    auto_store: bool | None
    tags: Mapping[str, Any] | None


class CallArguments(UnshapedArguments, total=False):
    """What `respond`, `stream`, `respond_batch` and `run_tools` take beside the prompt's strings.

    `system_message` and `tools` stay in force down the branch until others replace them; None takes
    them away. `messages` are in the shape of Chat Completions, or items of the Responses API; with
    an assistant's turn among them they are a whole history, which starts a new conversation.
    `continue_known=True` says that they are the whole conversation, and continues from the longest
    stored one that they begin with, so that what the model wrote stays as it was sampled. `images`
    are bytes, paths or URLs. `tool_outputs` is `{call_id: output}`, or a list of
    `{"call_id": ..., "output": ...}`. `response_model` is the shape of the answer; None for plain
    text in spite of the LM's own. `previous_response_id` is the response to continue from; an
    earlier one forks the conversation. `auto_store=False` leaves the LM's head where it is.
    `tags` are labels of your own, as JSON, which are kept with the turn and never sent; they come
    on top of the LM's, and None is for none at all.
    """

    response_model: Any


_OPTIONS = GenerationOptions.__annotations__.keys()
#: The arguments of an LM that are not options, and those of a call.
LM_ARGUMENTS = LMArguments.__annotations__.keys() - _OPTIONS
CALL_ARGUMENTS = CallArguments.__annotations__.keys() - _OPTIONS

#: Arguments that make the prompt of a call, or are in force from it on, so that the calls after it
#: in one run do not repeat them.
PROMPT_ARGUMENTS = frozenset(
    {
        "system_message",
        "user_message",
        "messages",
        "continue_known",
        "images",
        "tools",
        "tool_outputs",
        "previous_response_id",
    }
)


def split_lm_arguments(arguments: LMArguments) -> tuple[LMArguments, dict[str, Any]]:
    """Part the arguments of an LM from the options of all its calls."""
    own, options = _split(arguments, LM_ARGUMENTS)
    return cast("LMArguments", own), options


def split_call_arguments(arguments: CallArguments) -> tuple[CallArguments, dict[str, Any]]:
    """Part the arguments that LM reads from the options, which are the API's to check."""
    own, options = _split(arguments, CALL_ARGUMENTS)
    return cast("CallArguments", own), options


def _split(
    arguments: Mapping[str, Any], names: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    own: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in names:
            own[name] = value
        else:
            options[name] = value
    return own, options


def show_arguments(fields: type) -> Callable[[Method], Method]:
    """Show the fields of a TypedDict in a method's signature, instead of its `**arguments`.

    Type checkers know them from `Unpack`; this is for `help()` and for notebooks, which complete
    the names.
    """

    def show(method: Method) -> Method:
        signature = inspect.signature(method)
        own = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        shown = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=kind)
            for name, kind in _annotations(fields).items()
        ]
        method.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *shown]
        )
        return method

    return show


def _annotations(fields: type) -> dict[str, str]:
    """Return the fields as they are written, those of a class's own before inherited ones.

    ::

        Annotated[float | None, On(...)]  ->  float | None
    """
    inherited = {}
    own = {}
    for name, annotation in fields.__annotations__.items():
        kind = getattr(annotation, "__origin__", annotation)
        text = getattr(kind, "__forward_arg__", None) or _type_text(kind)
        if name in GenerationOptions.__annotations__:
            inherited[name] = text
        else:
            own[name] = text
    return {**own, **inherited}


def _type_text(kind: object) -> str:
    return inspect.formatannotation(kind).replace("collections.abc.", "")
