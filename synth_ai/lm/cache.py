"""The response cache: the store answers a request that it has an answer to.

With `LM(cache=True)` a call is not made if the request is deterministic, as it has `temperature=0`
or a `seed`, and the store has an answer to the same request. A request is the same if the
conversation so far, the new items, the system message, the tools, the shape of the answer, all
options, the model, the API, and the server or engine are the same. The date that Harmony writes
into its prompts is not among these: an evaluation that is run again on another day is answered as
well. Nor are the ids of items.

An answer of the cache is a turn of its own, with an id, a parent and tags of its own. It says
`cached`, has the usage that was recorded and a cost of 0, and was sent 0 times. Nothing is given
again that failed, was filtered or came of a compacted conversation, and nothing that a tool with
credentials may have said to somebody else.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

from synth_ai.content import Item
from synth_ai.errors import OptionError
from synth_ai.events import Started, VendorEvent
from synth_ai.lm.config import LMConfig
from synth_ai.lm.request import LMRequest
from synth_ai.lm.responses import as_response
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.options import GenerationOptions
from synth_ai.response import BaseLMResponse
from synth_ai.store.credentials import without_credentials
from synth_ai.turn import Turn

# What tells nothing of an item of these types: another run of the same conversation has others.
_OWN_FIELDS = ("id", "status")
_TYPES_WITH_OWN_IDS = frozenset(
    {
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    }
)


def check_cache(cache: object, *, keeps_turns: bool) -> bool:
    """Check the `cache` of an LM.

    Args:
        cache: what the caller gave.
        keeps_turns: whether the LM has a store.

    Raises:
        OptionError: it is neither True nor False, or there is no store.
    """
    if not isinstance(cache, bool):
        raise OptionError(f"cache must be True or False, not {cache!r:.100}.")
    if cache and not keeps_turns:
        raise OptionError(
            "cache=True and response_store=False contradict each other: the answers of the cache "
            "are those in the store. Leave out response_store= for one in memory, or give a path."
        )
    return cache


# --- the key of a request ---------------------------------------------------------------------


async def find_request_key(
    config: LMConfig, request: LMRequest, parent_id: str | None
) -> str | None:
    """Make the hash by which the answer to a request is found again.

    Args:
        config: the LM's.
        request: the request, before its conversation is compacted.
        parent_id: the id of the turn that it continues.

    Returns:
        None if the cache is off, or may not answer such a request.
    """
    if not config.cache or not _is_deterministic(request.options):
        return None
    if any(_has_credentials(tool) for tool in request.tools):
        return None

    history: Sequence[Turn] = request.history
    unknown_id = None
    if parent_id is not None and not history:
        # The server continues from the id. The same conversation may have another one next time.
        chain = await config.store.chain(parent_id)
        if chain is None:
            unknown_id = parent_id
        else:
            history = chain

    return hash_request(config.vendor, request, history, unknown_id)


def hash_request(
    vendor: VendorBase, request: LMRequest, history: Sequence[Turn], unknown_id: str | None
) -> str | None:
    """Hash all that decides what a deterministic request is answered with.

    Args:
        vendor: the backend.
        request: the request.
        history: the turns before it, whether or not they are sent.
        unknown_id: the id that the server continues from, if only the server knows the turns.

    Returns:
        A hash in hexadecimal digits; None if the request holds what JSON cannot.
    """
    items: list[Item] = []
    for turn in history:
        items += turn.input
        items += turn.output
    items += request.input

    response_format = None
    if request.response_format is not None:
        response_format = [request.response_format.name, request.response_format.schema]

    facts = {
        "api": vendor.api.name,
        "place": vendor.cache_scope,
        "model": request.model,
        "continues": unknown_id,
        "items": _without_ids(items),
        "instructions": request.instructions,
        "tools": request.tools,
        "response_format": response_format,
        # Others in another order are the same; the properties of a tool are not.
        "options": sorted(request.options.items()),
    }
    try:
        text = json.dumps(facts)
    except (TypeError, ValueError, RecursionError):
        return None
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _is_deterministic(options: GenerationOptions) -> bool:
    return options.get("temperature") == 0 or options.get("seed") is not None


def _has_credentials(tool: dict[str, object]) -> bool:
    return without_credentials(tool) is not tool


def _without_ids(items: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    bare: list[Mapping[str, object]] = []
    for item in items:
        if item.get("type", "message") in _TYPES_WITH_OWN_IDS:
            item = {name: value for name, value in item.items() if name not in _OWN_FIELDS}
        bare.append(item)
    return bare


# --- its answer -------------------------------------------------------------------------------


def may_be_given_again(response: BaseLMResponse) -> bool:
    """Whether a response is what the same request would be answered with again."""
    if response.status == "completed":
        return True
    return response.incomplete_reason == "max_output_tokens"


class CachedAnswer(VendorBase):
    """Stands in for the backend of one call: it gives a stored turn as its answer.

    Args:
        source: the turn.
        vendor: the backend that it stands in for.
    """

    def __init__(self, source: Turn, vendor: VendorBase) -> None:
        self.api = vendor.api
        self._source = source

    async def respond(self, request: LMRequest) -> BaseLMResponse:
        response = as_response(self._source, {})
        # Those of the call are its own.
        assert request.response_id is not None
        response.response_id = request.response_id
        response.replayed = False
        response.replay_reason = None
        response.request_id = None
        response.reward = None
        response.time_to_first_token = None
        response.cached = True
        response.cost = 0.0
        return response

    async def stream(self, request: LMRequest) -> AsyncGenerator[VendorEvent, None]:
        assert request.response_id is not None
        yield Started(request.response_id)
        async for event in super().stream(request):
            yield event


def as_hit(turn: Turn, source: Turn) -> Turn:
    """Complete the turn of an answer of the cache by what only its source knows.

    Args:
        turn: the call's turn.
        source: the turn that the answer was taken from.
    """
    return replace(
        turn,
        cached=True,
        server=source.server,
        stored_on_server=False,
        output_token_ids=source.output_token_ids,
        output_logprobs=source.output_logprobs,
        prompt_hash=source.prompt_hash,
        # It stands in the prompt that was answered.
        date=source.date,
    )
