"""A call made ready: checked against the conversation, with all that it needs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from synth_ai.content import new_response_id
from synth_ai.errors import RequestError
from synth_ai.lm import conversation
from synth_ai.lm.arguments import CallArguments
from synth_ai.lm.cache import find_request_key
from synth_ai.lm.call import Call, PreparedCall
from synth_ai.lm.compaction import Compactor, drop_oldest
from synth_ai.lm.config import LMConfig
from synth_ai.lm.conversation import Parent
from synth_ai.lm.known_history import find_known_beginning
from synth_ai.lm.prompt import NOT_GIVEN, Prompt, build_prompt, load_images
from synth_ai.lm.request import LMRequest
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.tool_outputs import check_tool_outputs, match_output_types
from synth_ai.lm.tools import ToolSpec, tool_specs
from synth_ai.options import GenerationOptions
from synth_ai.store.credentials import open_tools
from synth_ai.store.tags import read_tags
from synth_ai.timeout import Timeout

# A line of a system message that asks for effort:  Reasoning: high
_EFFORT = re.compile(r"^[ \t]*reasoning(?:[ _]effort)?:[ \t]*(low|medium|high)[ \t]*$", re.I | re.M)


def read_options(config: LMConfig, call: Call) -> tuple[GenerationOptions, Timeout]:
    """Read the options of a call over those of the LM; its time limit comes separately.

    `reask` is left out, as it is for `lm/reask.py` alone.

    Raises:
        OptionError: an option is unknown or out of range.
    """
    api = config.vendor.api
    options = api.merge_options(config.defaults, api.read_options(call.options))
    timeout = Timeout.of(options.pop("timeout", None))
    options.pop("reask", None)
    return options, timeout


def read_call_tags(config: LMConfig, call: Call) -> dict[str, Any]:
    """Read the tags of a call, on top of those of the LM.

    Raises:
        OptionError: they are no JSON.
    """
    if "tags" not in call.arguments:
        return dict(config.tags)
    if call.arguments["tags"] is None:
        return {}
    return {**config.tags, **read_tags(call.arguments["tags"])}


async def prepare(
    config: LMConfig, call: Call, options: GenerationOptions, timeout: Timeout
) -> PreparedCall:
    """Check a call and gather what it needs; what is wrong with it is found before it is sent.

    Raises:
        RequestError: the call contradicts itself, or cannot continue from where it says.
    """
    arguments = call.arguments
    _check_continue_known(arguments)
    tags = read_call_tags(config, call)
    prompt = build_prompt(
        call.texts,
        system_message=arguments.get("system_message", NOT_GIVEN),
        user_message=arguments.get("user_message"),
        messages=arguments.get("messages"),
        images=await load_images(arguments.get("images")),
        tool_outputs=arguments.get("tool_outputs"),
        may_be_empty=options.get("prompt") is not None,
    )

    parent, prompt = await _find_parent(config, call, prompt)
    parent_output = _output_of(parent)
    if parent_output is not None:
        check_tool_outputs(parent_output, prompt.items)

    context = await conversation.context(
        parent, config, instructions=prompt.instructions, tools=_given_tools(arguments)
    )
    tools, warnings = open_tools(
        context.tools or (), conversation.server_of(config.vendor), config.tools.specs or ()
    )
    warnings += _warn_of_effort(context.instructions)
    compactor = _choose_compactor(config, options)
    include_reasoning = options.pop("include_reasoning", True)

    request = LMRequest(
        model=config.model,
        input=match_output_types(parent_output or (), prompt.items),
        history=context.history,
        previous_response_id=context.previous_response_id,
        instructions=context.instructions,
        tools=tools,
        response_format=choose_response_format(config, arguments),
        options=options,
        date=context.date,
        timeout=timeout,
        response_id=new_response_id(),
        compactable=compactor is not None and parent is not None,
    )
    request_key = await find_request_key(config, request, None if parent is None else parent.id)
    source = None
    if request_key is not None:
        source = await config.store.find_answer(request_key)

    if compactor is not None:
        request = compactor.reapply(request)

    return PreparedCall(
        request=request,
        parent=parent,
        tools=context.tools,
        replay_reason=context.replay_reason,
        include_reasoning=bool(include_reasoning),
        compactor=compactor,
        warnings=tuple(warnings),
        tags=tags,
        request_key=request_key,
        source=source,
    )


def _warn_of_effort(instructions: str | None) -> list[str]:
    """Warn of a system message that asks for effort, which is an option.

    gpt-oss is trained on such a line, and harmony writes it where the model looks for it.
    """
    effort = _EFFORT.search(instructions or "")
    if effort is None:
        return []
    return [
        f"The system message says {effort[0].strip()!r}, which the model may not read as a "
        f"setting: use reasoning_effort={effort[1].lower()!r}."
    ]


def _check_continue_known(arguments: CallArguments) -> None:
    """Refuse `continue_known=` where there is no history to be known.

    Raises:
        RequestError: it is not a bool, or does not go with the other arguments.
    """
    continue_known = arguments.get("continue_known", False)
    if not isinstance(continue_known, bool):
        raise RequestError(f"continue_known must be True or False, not {continue_known!r:.100}.")
    if not continue_known:
        return

    if arguments.get("messages") is None:
        raise RequestError(
            "continue_known=True is for a call that brings its whole conversation: give it as "
            "messages=."
        )
    if arguments.get("previous_response_id") is not None:
        raise RequestError(
            "continue_known=True finds the response to continue from, and previous_response_id= "
            "names it: give one of them."
        )


async def _find_parent(
    config: LMConfig, call: Call, prompt: Prompt
) -> tuple[Parent | None, Prompt]:
    """Find the turn to continue from: the one that the call names or brings along, else the head.

    Returns:
        The turn, None at the start of a conversation; and what of the prompt stands behind it.
    """
    named = call.arguments.get("previous_response_id")
    if named is not None:
        return await conversation.find_parent(named, config), prompt

    if call.arguments.get("continue_known"):
        known = await find_known_beginning(prompt, config.store)
        if known is None:
            return None, prompt
        return known.parent, replace(prompt, items=prompt.items[known.count :])

    if not call.starts_from_head or prompt.is_history:
        return None, prompt

    head = call.ticket.head
    if head is None or head.turn is not None:
        return head, prompt
    # fork() takes any id; here is where it is looked up.
    return await conversation.find_parent(head.id, config), prompt


def _output_of(parent: Parent | None) -> tuple[Any, ...] | None:
    """Return what the turn before answered; None if only a server knows, and checks, its calls."""
    if parent is None:
        return ()
    if parent.turn is None:
        return None
    return parent.turn.output


def _given_tools(arguments: CallArguments) -> tuple[ToolSpec, ...] | None:
    """Return the call's own tools; None if it names none, and () if it takes them away."""
    if "tools" not in arguments:
        return None
    return tool_specs(arguments["tools"] or ())


def read_shape(config: LMConfig, call: Call) -> tuple[Call, ResponseFormat | None]:
    """Read the shape of a call's answer, once for all that need it.

    Returns:
        The call with the shape itself as its `response_model`, and the shape.

    Raises:
        OptionError: it has no JSON schema.
    """
    shape = choose_response_format(config, call.arguments)
    return replace(call, arguments={**call.arguments, "response_model": shape}), shape


def choose_response_format(config: LMConfig, arguments: CallArguments) -> ResponseFormat | None:
    """Choose the shape of a call's answer: its own, else the LM's; None for plain text.

    Raises:
        OptionError: the call's has no JSON schema.
    """
    if "response_model" not in arguments:
        return config.response_format
    if arguments["response_model"] is None:
        return None
    return ResponseFormat.of(arguments["response_model"])


def _choose_compactor(config: LMConfig, options: GenerationOptions) -> Compactor | None:
    """Return what shortens a conversation that is too long; `truncation` is the server's, or ours.

    Takes `truncation` out of the options if it is ours.
    """
    if config.vendor.api.truncates:
        return config.compactor
    if options.pop("truncation", None) == "auto":
        return Compactor(drop_oldest)
    return config.compactor
