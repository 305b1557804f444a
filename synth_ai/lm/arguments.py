"""The arguments of a call, written once for all the methods that take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from synth_ai.images import Image
from synth_ai.lm.prompt import ToolOutputs
from synth_ai.lm.tools import ToolLike
from synth_ai.options import GenerationOptions

Method = TypeVar("Method", bound=Callable[..., Any])


class CallArguments(GenerationOptions, total=False):
    """What `respond`, `stream`, `respond_batch` and `run_tools` take beside the prompt's strings.

    `system_message` stays in force down the branch until another replaces it. `messages` are in the
    shape of Chat Completions, or items of the Responses API; with an assistant's turn among them
    they are a whole history, which starts a new conversation. `images` are bytes, paths or URLs.
    `tools` stay in force down the branch; None takes them away. `tool_outputs` is
    `{call_id: output}`, or a list of `{"call_id": ..., "output": ...}`. `response_model` is the
    shape of the answer; None for plain text in spite of the LM's own. `previous_response_id` is
    the response to continue from; an earlier one forks the conversation. `auto_store=False` leaves
    the LM's head where it is.
    """

    system_message: str | None
    user_message: str | None
    messages: Sequence[Mapping[str, Any]] | None
    images: Sequence[Image]
    tools: Sequence[ToolLike] | None
    tool_outputs: ToolOutputs | None
    response_model: Any
    previous_response_id: str | None
    auto_store: bool | None


#: The arguments that are not options.
CALL_ARGUMENTS = CallArguments.__annotations__.keys() - GenerationOptions.__annotations__.keys()


def split_options(arguments: CallArguments) -> tuple[CallArguments, dict[str, Any]]:
    """Part the arguments that LM reads from the options, which are the API's to check."""
    own: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in CALL_ARGUMENTS:
            own[name] = value
        else:
            options[name] = value
    return cast("CallArguments", own), options


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
