"""Every vendor as a test sees it: what it is told to answer, and what its model saw."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from extending.messages import MessagesServer, MessagesVendor
from servers.answers import Answer, ToolCall, new_id
from servers.openai_fake import OpenAIServer
from synth_ai import LM, harmony
from synth_ai.testing import ScriptedEngine, call_text, final_text


@dataclass
class Reply:
    """What the model says: reasoning, then a call, or else a text."""

    text: str = ""
    reasoning: str | None = None
    call: tuple[str, dict[str, Any]] | None = None


@dataclass
class Backend(ABC):
    """A vendor behind an LM.

    Attributes:
        api: the name of its API.
        keeps: whether its server continues from ids.
    """

    api: str = ""
    keeps: bool = False
    lms: list[LM] = field(default_factory=list)

    def lm(self, **options: Any) -> LM:
        """An LM on this backend; all of one test share a store if they are given one."""
        lm = self.make(**options)
        self.lms.append(lm)
        return lm

    @abstractmethod
    def make(self, **options: Any) -> LM: ...

    @abstractmethod
    def script(self, *replies: Reply | str) -> None:
        """Answer the next calls with these."""

    @abstractmethod
    def seen(self) -> str:
        """All that the model saw of the conversation in the last call, as one text."""

    @abstractmethod
    def forget(self, response_id: str) -> None:
        """Lose a response on the server."""


def as_reply(reply: Reply | str) -> Reply:
    return Reply(text=reply) if isinstance(reply, str) else reply


class HostedBackend(Backend):
    """Chat Completions or Responses, on the stand-in for OpenAI's service."""

    def __init__(self, service: OpenAIServer, api: str) -> None:
        super().__init__(api, keeps=api == "responses")
        self.service = service

    def make(self, **options: Any) -> LM:
        address = {"base_url": self.service.base_url, "api_key": "sk-test"}
        if self.keeps:
            # Responses shows reasoning as a summary, to those who ask for it.
            options["reasoning"] = {"summary": "auto"}
        return LM("gpt-5", api=self.api, **address, **options)

    def script(self, *replies: Reply | str) -> None:
        for reply in map(as_reply, replies):
            calls = ()
            if reply.call is not None:
                name, arguments = reply.call
                calls = (ToolCall(name, json.dumps(arguments)),)
            text = None if calls else reply.text
            self.service.enqueue(Answer(text=text, reasoning=reply.reasoning, tool_calls=calls))

    def seen(self) -> str:
        body = self.service.bodies[-1]
        if self.api == "chat":
            return json.dumps(body["messages"], ensure_ascii=False)

        items = self.service.context_of(self.service.stored()[-1])
        return json.dumps([body.get("instructions"), *items], ensure_ascii=False)

    def forget(self, response_id: str) -> None:
        self.service.forget(response_id)


class HarmonyBackend(Backend):
    """gpt-oss on a scripted engine: the prompts are really rendered, the completions parsed."""

    def __init__(self) -> None:
        super().__init__("harmony")
        self.engine = ScriptedEngine()

    def make(self, **options: Any) -> LM:
        return LM("gpt-oss-20b", engine=self.engine, **options)

    def script(self, *replies: Reply | str) -> None:
        for reply in map(as_reply, replies):
            if reply.call is None:
                self.engine.add(final_text(reply.text, reasoning=reply.reasoning))
            else:
                name, arguments = reply.call
                self.engine.add(call_text(name, reasoning=reply.reasoning, **arguments))

    def seen(self) -> str:
        return harmony.decode(self.engine.prompts[-1])

    def forget(self, response_id: str) -> None:
        raise AssertionError("no server keeps responses here")


class MessagesBackend(Backend):
    """The vendor of this folder, registered by name."""

    def __init__(self) -> None:
        super().__init__("messages", keeps=True)
        self.service = MessagesServer()
        self.vendors: list[MessagesVendor] = []

    def make_vendor(self, endpoint: Any) -> MessagesVendor:
        self.vendors.append(MessagesVendor(self.service))
        return self.vendors[-1]

    def make(self, **options: Any) -> LM:
        return LM("m-1", vendor="messages-test", **options)

    def script(self, *replies: Reply | str) -> None:
        for reply in map(as_reply, replies):
            content = []
            if reply.reasoning is not None:
                content.append({"type": "thinking", "text": reply.reasoning})
            if reply.call is not None:
                name, arguments = reply.call
                call = {"type": "tool_use", "id": new_id("call"), "name": name, "input": arguments}
                content.append(call)
            else:
                content.append({"type": "text", "text": reply.text})
            self.service.answers.append(content)

    def seen(self) -> str:
        last = self.service.requests[-1]
        return json.dumps([last.get("system"), *self.service.seen()], ensure_ascii=False)

    def forget(self, response_id: str) -> None:
        del self.service.kept[response_id]
