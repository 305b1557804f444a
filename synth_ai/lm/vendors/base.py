"""What a backend is: one request object in, one response out, and a way to close.

Subclass `VendorBase` to put a model of your own behind `LM`. Only `respond` must be written, and
`api` says what LM must know::

    class Echo(VendorBase):
        api = API(name="echo")

        async def respond(self, request: LMRequest) -> BaseLMResponse:
            return BaseLMResponse(raw_response=text_of(request.input[-1]))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from synth_ai.api import API
from synth_ai.content import Item, name_and_text
from synth_ai.engines.base import Engine
from synth_ai.errors import NotFoundError
from synth_ai.events import (
    Completed,
    PreambleDelta,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    VendorEvent,
)
from synth_ai.lm.prices import Price
from synth_ai.lm.request import LMRequest
from synth_ai.lm.token_count import TokenCount, estimate_prompt_tokens
from synth_ai.response import BaseLMResponse, Usage

__all__ = ["API", "BaseLMResponse", "LMRequest", "StreamEvent", "Usage", "VendorBase"]


Order: TypeAlias = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some of the items that went in on the way to a response.

    Attributes:
        items: the items.
        last_id: the id of the last of them, behind which the next page begins; None if it has none.
        has_more: whether there is a next page.
    """

    items: Sequence[Item]
    last_id: str | None
    has_more: bool


class VendorBase(ABC):
    """A model behind one interface.

    Attributes:
        api: the API that it speaks: its name, its options, who keeps the conversation.
        server: names the server whose response and item ids these are; None if ids are made here. A
            call that cannot continue from an id of this server comes with its whole `history`.
        engine: the engine that runs the model, for a backend that has one.
        replay_reason: why a call that continues a turn of this server comes with its whole history,
            if the turn was not kept there.
        list_prices: what the models cost, by name, unless the caller gives prices.
    """

    api: API = API(name="custom")
    server: str | None = None
    engine: Engine | None = None
    replay_reason: str = "the server does not keep this conversation"
    list_prices: Mapping[str, Price] = MappingProxyType({})

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        name = cls.__dict__.get("api_type")
        if isinstance(name, str):
            raise TypeError(
                f"{cls.__name__}.api_type cannot be set: describe the API by `api = API("
                f"name={name!r}, ...)`; api_type is its name."
            )

    @property
    def api_type(self) -> str:
        """The name of the API."""
        return self.api.name

    @property
    def cache_scope(self) -> str:
        """Names the place where the model runs: the response cache answers for the same place.

        It is the server's name, else the engine, else the class.
        """
        if self.server is not None:
            return self.server
        if self.engine is not None:
            return f"{type(self.engine).__name__} {self.engine.model}"
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    async def respond(self, request: LMRequest) -> BaseLMResponse:
        """Answer one request.

        Leave `response_id` None if the backend gives no ids; it is then that of the request. Set
        `stored_on_server` if the server can continue from the id that it gave.

        Raises:
            SynthAIError: any of this library's errors. Translate here what the vendor's own library
                raises.
        """

    async def stream(self, request: LMRequest) -> AsyncGenerator[VendorEvent, None]:
        """Answer one request as events, the last of which is `Completed`.

        If the server gives the response an id, `Started` says so before the first of them.

        A backend that cannot stream need not write this: the whole answer then comes in one piece.
        """
        response = await self.respond(request)
        if response.response_id is not None:
            yield Started(response.response_id)
        for event in whole_response_events(response):
            yield event

    def for_batch(self, count: int) -> VendorBase:
        """Return the backend for `count` calls that come together, if it gains by knowing."""
        return self

    async def models(self) -> list[str]:
        """Return the names of the models that the backend has."""
        return []

    async def retrieve(self, response_id: str) -> BaseLMResponse:
        """Read a response that the server keeps.

        Raises:
            NotFoundError: the server does not have it.
        """
        raise NotFoundError(f"The {self.api.name} API does not give out {response_id!r:.100}.")

    async def input_items(
        self, response_id: str, *, after: str | None, limit: int, order: Order
    ) -> ItemPage:
        """Read a page of what went in on the way to a response that the server keeps.

        Args:
            response_id: the response.
            after: the id of the last item of the page before; None for the first page.
            limit: the most items.
            order: `asc` for the oldest item first, `desc` for the newest.

        Raises:
            NotFoundError: the server does not have it.
        """
        raise NotFoundError(f"The {self.api.name} API does not give out {response_id!r:.100}.")

    async def count_tokens(self, request: LMRequest) -> TokenCount:
        """Count the tokens of a request's prompt, or estimate them.

        Args:
            request: the request, with its whole `history`.
        """
        return TokenCount(estimate_prompt_tokens(request), is_exact=False)

    async def delete(self, response_id: str) -> None:
        """Forget a response on the server, if one keeps it.

        Raises:
            NotFoundError: the server does not have it.
        """

    async def aclose(self) -> None:
        """Free what the backend holds. Safe to call twice."""

    async def __aenter__(self) -> VendorBase:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def whole_response_events(response: BaseLMResponse) -> list[StreamEvent]:
    """Return the events that a stream of a finished response would have, each text in one piece."""
    events: list[StreamEvent] = []
    if response.reasoning:
        events.append(ReasoningDelta(response.reasoning))
    if response.preamble:
        events.append(PreambleDelta(response.preamble))
    if response.raw_response:
        events.append(TextDelta(response.raw_response))
    for index, call in enumerate(response.tool_calls or ()):
        name, text = name_and_text(call)
        events.append(ToolCallDelta(index, name, text, call["id"]))

    events.append(Completed(response))
    return events
