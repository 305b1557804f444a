"""The same conversations through the `openai_harmony` module, whichever package put it there."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import synth_ai.harmony
from harmony.conversations import Conversation, Item

VOCABULARY = Path(synth_ai.harmony.__file__).parent / "vocabulary"


@cache
def library() -> Any:
    """The module, with its vocabulary from this project: openai-harmony would download it."""
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(VOCABULARY)
    import openai_harmony

    return openai_harmony


@cache
def encoding() -> Any:
    return library().load_harmony_encoding("HarmonyGptOss")


def messages(conversation: Conversation) -> list[Any]:
    """Make the library's messages, without the reasoning before the last final answer."""
    settings = conversation.settings
    body = _body(conversation.items)
    last_final = max(
        (n for n, message in enumerate(body) if message.channel == "final"), default=-1
    )
    kept = [
        message for n, message in enumerate(body) if n > last_final or message.channel != "analysis"
    ]
    return [_system(settings), *_developer(settings), *kept]


def render(conversation: Conversation) -> list[int]:
    return render_messages(messages(conversation))


def render_messages(messages: list[Any]) -> list[int]:
    oh = library()
    keep = (
        oh.RenderConversationConfig(auto_drop_analysis=False)
        if hasattr(oh, "RenderConversationConfig")
        else None
    )
    conversation = oh.Conversation.from_messages(messages)
    found: list[int] = encoding().render_conversation_for_completion(
        conversation, oh.Role.ASSISTANT, keep
    )
    return found


def _system(settings: Item) -> Any:
    oh = library()
    system = oh.SystemContent(
        reasoning_effort=settings.get("reasoning_effort", "medium").capitalize(),
        conversation_start_date=settings["date"] or None,
        knowledge_cutoff=settings.get("knowledge_cutoff", "2024-06"),
    )
    for tool in settings.get("tools", ()):
        kind = tool if isinstance(tool, str) else tool["type"]
        if kind != "function":
            system = system.with_python_tool() if kind == "python" else system.with_browser_tool()
    return oh.Message.from_role_and_content(oh.Role.SYSTEM, system)


def _developer(settings: Item) -> list[Any]:
    oh = library()
    specs = [
        tool.get("function", tool) for tool in settings.get("tools", ()) if isinstance(tool, dict)
    ]
    functions = [
        oh.ToolDescription.new(spec["name"], spec.get("description", ""), spec.get("parameters"))
        for spec in specs
        if "name" in spec
    ]
    instructions = settings.get("instructions")
    if not (functions or instructions):
        return []
    developer = oh.DeveloperContent.new()
    if instructions:
        developer = developer.with_instructions(instructions)
    if functions:
        developer = developer.with_function_tools(functions)
    return [oh.Message.from_role_and_content(oh.Role.DEVELOPER, developer)]


def _body(items: list[Item]) -> list[Any]:
    calls: dict[str, tuple[str, str]] = {}
    return [_message(item, calls) for item in items]


def _message(item: Item, calls: dict[str, tuple[str, str]]) -> Any:
    oh = library()
    kind = item.get("type", "message")
    if kind == "function_call":
        built_in = item["name"].split(".")[0] in ("python", "browser")
        name, channel = (
            (item["name"], "analysis") if built_in else (f"functions.{item['name']}", "commentary")
        )
        calls[item["call_id"]] = (name, channel)
        message = oh.Message.from_role_and_content(oh.Role.ASSISTANT, item["arguments"])
        message = message.with_channel(channel).with_recipient(name)
        return message.with_content_type("code" if built_in else "<|constrain|>json")
    if kind == "function_call_output":
        name, channel = calls[item["call_id"]]
        message = oh.Message.from_author_and_content(
            oh.Author.new(oh.Role.TOOL, name), item["output"]
        )
        return message.with_channel(channel).with_recipient("assistant")
    texts = (
        [item["content"]]
        if isinstance(item["content"], str)
        else [part["text"] for part in item["content"]]
    )
    if kind == "reasoning":
        return _of(oh.Role.ASSISTANT, texts).with_channel("analysis")
    if item["role"] == "user":
        return _of(oh.Role.USER, texts)
    if item["role"] == "assistant":
        return _of(oh.Role.ASSISTANT, texts).with_channel(
            "commentary" if item.get("phase") == "commentary" else "final"
        )
    content = oh.DeveloperContent.new().with_instructions(texts[0])
    return oh.Message.from_role_and_content(oh.Role.DEVELOPER, content)


def _of(role: Any, texts: list[str]) -> Any:
    oh = library()
    return oh.Message.from_role_and_contents(role, [oh.TextContent(text=text) for text in texts])
