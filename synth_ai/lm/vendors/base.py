"""What a backend is: one request object in, one response out, and a way to close.

Subclass `VendorBase` to put a model of your own behind `LM`: only `respond` must be written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType
from typing import Any

from synth_ai.content import name_and_text
from synth_ai.events import (
    Completed,
    PreambleDelta,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)
from synth_ai.lm.prices import Price
from synth_ai.lm.request import LMRequest
from synth_ai.lm.vendors.families import ApiType
from synth_ai.response import BaseLMResponse, Usage

__all__ = ["BaseLMResponse", "LMRequest", "StreamEvent", "Usage", "VendorBase"]


class VendorBase(ABC):
    """A model behind one interface.

    Attributes:
        api_type: the API it speaks; `responses` and `harmony` calls chain by themselves, `chat` calls do not.
        server: names the server whose response and item ids these are; None when ids are made here. A request that
            cannot be continued from an id of this server comes with its whole `history`.
        list_prices: what the models of this backend cost, by name, where the caller gives no prices.
    """

    api_type: ApiType = "chat"
    server: str | None = None
    list_prices: Mapping[str, Price] = MappingProxyType({})

    @abstractmethod
    async def respond(self, request: LMRequest) -> BaseLMResponse:
        """Answer one request.

        Leave `response_id` None where the backend gives no ids; the LM then makes one.

        Raises:
            SynthAIError: any of this library's errors; what the vendor's own library raises is translated here.
        """

    async def stream(self, request: LMRequest) -> AsyncGenerator[StreamEvent, None]:
        """Answer one request as events, the last of which is `Completed`.

        A backend that cannot stream need not write this: the whole answer then comes in one piece.
        """
        response = await self.respond(request)
        for event in whole_response_events(response):
            yield event

    def for_batch(self, count: int) -> VendorBase:
        """The backend for `count` calls that come together: itself, unless it gains by knowing of them."""
        return self

    async def models(self) -> list[str]:
        """The names of the models that the backend has."""
        return []

    async def delete(self, response_id: str) -> None:
        """Forget a response on the server that keeps it; nothing to do where none does."""

    async def aclose(self) -> None:
        """Free what the backend holds. Safe to call twice."""

    async def __aenter__(self) -> VendorBase:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.aclose()


def whole_response_events(response: BaseLMResponse) -> list[StreamEvent]:
    """A finished response as the events that a stream of it would have had, each text in one piece."""
    events: list[StreamEvent] = []
    if response.reasoning:
        events.append(ReasoningDelta(response.reasoning))
    if response.preamble:
        events.append(PreambleDelta(response.preamble))
    if response.raw_response:
        events.append(TextDelta(response.raw_response))
    for index, call in enumerate(response.tool_calls or ()):
        events.append(ToolCallDelta(index, *name_and_text(call), call["id"]))
    return [*events, Completed(response)]
