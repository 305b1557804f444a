"""The bodies of the Responses API, as far as they are read here.

What servers send is not checked against these shapes: every field may be missing, null or something
else. What reads it expects the shape, and `malformed_as` reports the rest. The items of an answer
are those of `synth_ai.content`.

https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from synth_ai.content import Item


class ResponseFailure(TypedDict, total=False):
    """What went wrong, on a response that failed."""

    code: str
    message: str


class IncompleteDetails(TypedDict, total=False):
    """Why an answer stopped short, such as `max_output_tokens`."""

    reason: str


class InputTokensDetails(TypedDict, total=False):
    """Which tokens of the prompt came from a cache."""

    cached_tokens: int


class OutputTokensDetails(TypedDict, total=False):
    """Which generated tokens were reasoning."""

    reasoning_tokens: int


class ResponseUsage(TypedDict, total=False):
    """How many tokens a call took."""

    input_tokens: int
    output_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens_details: OutputTokensDetails


class ResponseBody(TypedDict, total=False):
    """The body of an answer."""

    id: str
    model: str
    status: str
    output: list[Item]
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    usage: ResponseUsage | None
    store: bool | None


class AddedItem(TypedDict, total=False):
    """An item at its beginning, as the event that announces it has it."""

    id: str
    type: str
    phase: str
    name: str
    call_id: object
    arguments: object
    input: object


class ResponseEvent(TypedDict, total=False):
    """An event of a stream. `output_index` is the place of its item in the output.

    The event behind the last delta of a part has all of it: as `text`, `arguments` or `input`.
    """

    type: str
    item_id: str
    output_index: int
    content_index: int
    summary_index: int
    delta: str
    text: str
    arguments: object
    input: object
    item: AddedItem
    response: ResponseBody


class ItemList(TypedDict):
    """The answer to `GET /responses/{id}/input_items`: a page of items."""

    data: Sequence[Item]
    last_id: NotRequired[str | None]
    has_more: NotRequired[bool]
