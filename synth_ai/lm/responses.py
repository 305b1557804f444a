"""`lm.responses`: the responses in the store, by the names that the openai SDK has for them.

What the store lacks is asked of the server, if it is of an API whose servers keep responses.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from synth_ai.content import Item, complete_items
from synth_ai.errors import NotFoundError, OptionError, RequestError, UnknownResponseError
from synth_ai.ids import check_id
from synth_ai.limiter import is_positive_int
from synth_ai.lm import sync
from synth_ai.lm.config import LMConfig
from synth_ai.lm.logprobs import unpack_logprobs
from synth_ai.lm.prices import Price, find_price
from synth_ai.lm.prompt_ids import render_prompt_ids
from synth_ai.lm.vendors.base import ItemPage, Order
from synth_ai.response import BaseLMResponse, Usage
from synth_ai.store.json import copy_json
from synth_ai.store.tags import UNCHANGED, Annotation, Unchanged, read_reward, read_tags
from synth_ai.store.transfer import export_turns, import_turns
from synth_ai.store.workers import run_on_thread
from synth_ai.turn import Turn

if TYPE_CHECKING:
    from synth_ai.lm.training import TrainingExample

T = TypeVar("T")

#: How many responses a server is asked to delete at a time.
_MAX_DELETIONS = 16

#: The most items that a server is asked for at a time; OpenAI gives no more.
_MAX_PAGE = 100


class StoredResponses:
    """The responses in the store of an LM. Every method has an `_async` twin."""

    def __init__(self, config: LMConfig) -> None:
        self._config = config

    async def retrieve_async(self, response_id: str) -> BaseLMResponse:
        """Read the response of this id; a copy, to do with as you like.

        Its cost is that of today's prices. Its `prompt_token_ids` are rendered again from its
        branch; where that does not give the very ids, there are none. The store does not have, and
        the copy lacks, `structured_output`, `attempts`, `raw` and the alternatives of `logprobs`. A
        response that the store lacks is read from the server that keeps it; it is not stored here.

        Raises:
            UnknownResponseError: neither the store nor the server has it.
            RequestError: it cannot be an id.
            ServerError: the server cannot be asked.
        """
        check_id(response_id, "response_id")
        turn = await self._config.store.get(response_id)
        if turn is not None:
            return await self._read_whole(turn)

        vendor = self._config.vendor
        response = await self._ask_server(response_id, partial(vendor.retrieve, response_id))
        return self._complete(response)

    async def input_items_async(
        self,
        response_id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
    ) -> list[Item]:
        """Read what went in on the way to this response: its whole conversation.

        If the store lacks a part of it, the server that keeps the response is asked.

        Args:
            response_id: the response.
            after: begin behind the item of this id.
            limit: the most items to read; all of them by default.
            order: `asc` for the oldest item first, `desc` for the newest.

        Raises:
            UnknownResponseError: it, or a turn before it, is neither in the store nor on the
                server.
            RequestError: it cannot be an id, or no item has the id `after`.
            OptionError: `limit` or `order` has a value that makes no sense.
            ServerError: the server cannot be asked.
        """
        check_id(response_id, "response_id")
        _check_page(limit, order)
        chain = await self._config.store.chain(response_id)
        if chain is None:

            async def read_page(after: str | None, count: int) -> ItemPage:
                vendor = self._config.vendor
                ask = partial(
                    vendor.input_items, response_id, after=after, limit=count, order=order
                )
                return await self._ask_server(response_id, ask)

            return await _read_pages(read_page, after, limit)

        *before, last = chain
        items: list[Item] = []
        for turn in before:
            items += turn.input
            items += turn.output
        items += last.input
        return [copy_json(item) for item in _cut_page(items, after, limit, order)]

    async def training_examples_async(
        self, response_id: str, *, only_from: str | None = None
    ) -> list[TrainingExample]:
        """Make training examples of the branch up to this response: token ids with a loss mask.

        See `synth_ai.lm.training`.

        Args:
            response_id: the last response of the branch.
            only_from: the response after which the samples begin. What was sampled up to it is
                context alone, so that n samples of one prefix are n examples. The id of the last
                response itself stands for that one alone.

        Raises:
            UnknownResponseError: it, or a turn before it, is not in the store.
            RequestError: no turn of the branch has sampled ids, or `only_from` is not of it.
        """
        # Imported here: an LM of another API never needs the modules of Harmony.
        from synth_ai.lm.training import training_examples

        return training_examples(await self._get_chain(response_id), only_from)

    async def annotate_async(
        self, response_id: str, /, *, reward: float | Unchanged | None = UNCHANGED, **tags: Any
    ) -> None:
        """Say of a response how good it was, and label it.

        Args:
            response_id: the response.
            reward: a number; True is 1 and False is 0. None takes away the one that it has, and
                without this argument that one stays.
            **tags: labels, as JSON. Each takes the place of one of its name, and None takes that
                away; the others stay.

        Raises:
            UnknownResponseError: it is not in the store.
            OptionError: the reward is no finite number, or a tag is no JSON.
            StoreError: it could not be written.
        """
        check_id(response_id, "response_id")
        new_reward = reward if isinstance(reward, Unchanged) else read_reward(reward)
        annotation = Annotation(new_reward, read_tags(tags))
        store = self._config.store
        if not await store.annotate(response_id, annotation):
            raise UnknownResponseError(store.explain_missing(response_id))

    async def export_async(
        self, path: str | os.PathLike[str], response_ids: Iterable[str] | None = None
    ) -> int:
        """Write responses to a file that another store can import.

        Args:
            path: the file. An earlier export is replaced, no other file is.
            response_ids: the responses to write, each with all that it continues from; every
                response by default.

        Returns:
            How many turns the file has.

        Raises:
            StoreError: a response is not all in the store, or the file cannot be written.
        """
        ids = None
        if response_ids is not None:
            ids = [check_id(response_id, "response_ids") for response_id in response_ids]
        return await export_turns(self._config.store, path, ids)

    async def import_async(self, path: str | os.PathLike[str]) -> int:
        """Add the responses of an exported file, all or none.

        Returns:
            How many were new.

        Raises:
            StoreError: the file cannot be read, is not an export or is damaged, or contradicts what
                is in the store.
        """
        return await import_turns(self._config.store, path)

    async def delete_async(self, response_id: str, *, descendants: bool = False) -> None:
        """Delete a response, here and on the server that keeps it.

        Args:
            response_id: the response.
            descendants: delete the responses here that continue from it too, and on the server that
                keeps them.

        Raises:
            UnknownResponseError: neither the store nor the server has it.
            RequestError: it cannot be an id.
            StoreError: other responses continue from it and `descendants` is not set.
            ServerError: the server could not delete something. In the store all are deleted. The
                notes of the error name what the server may still have: delete it again by its id.
        """
        check_id(response_id, "response_id")
        store = self._config.store
        turn = await store.get(response_id)
        turns_after = await store.descendants(response_id) if descendants else []
        was_stored = await store.delete(response_id, descendants=descendants)

        if turn is not None:
            await self._delete_on_server([turn, *turns_after])
            return

        # A server may have a response that was never stored here.
        try:
            await self._delete_unstored(response_id)
        except NotFoundError as error:
            if not was_stored:
                raise UnknownResponseError(store.explain_missing(response_id)) from error

    async def redact_async(self, response_id: str, *, tags: bool = False) -> None:
        """Remove the text of a response for good; the responses that continue from it stay.

        Every text, argument and picture of what was asked and answered becomes `[redacted]`.
        Removed are also its reasoning, token ids and warnings, and all settings but numbers. Its
        place in the tree, its usage, roles, call ids and the names of functions stay, and so do the
        system message and the tools, which belong to the whole branch. Its reward and its tags
        stay too, as they are your own words, unless `tags` is set. In the file of a store the old
        bytes are overwritten.

        A server that keeps the response is asked to delete it, and those that continue from it, as
        they would bring the text back. Conversations can still continue from any of them: they are
        sent again in full, with `[redacted]` in place of the text.

        Not reached are other turns that quote it, files that were exported, a call that is under
        way, and servers other than this LM's. `ResponseStore.redact` does the same in a store
        alone, without a server.

        Args:
            response_id: the response.
            tags: take away its reward and its tags, too.

        Raises:
            UnknownResponseError: it is not in the store.
            ServerError: the server could not delete something, so nothing was redacted: call again.
                The notes of the error name what the server may still have.
            StoreError: it could not be written.
        """
        store = self._config.store
        turn = await self._get_turn(response_id)
        descendants = await store.descendants(response_id)

        # The server first: a redacted turn no longer says that a server has it.
        await self._delete_on_server([turn, *descendants])
        if tags:
            await store.annotate(response_id, Annotation(reward=None, replaces_tags=True))
        if not await store.redact(response_id):
            raise UnknownResponseError(store.explain_missing(response_id))

    async def list_async(self, *, tags: Mapping[str, Any] | None = None) -> list[BaseLMResponse]:
        """Read the responses in the store, oldest first.

        They have no `prompt_token_ids`, which `retrieve` renders.

        Args:
            tags: read only those that have all these tags, each with this very value.

        Raises:
            OptionError: `tags` are no JSON.
        """
        turns: Sequence[Turn]
        if tags:
            turns = await self._config.store.search(read_tags(tags))
        else:
            turns = await self._config.store.list()
        return [as_response(turn, self._config.prices) for turn in turns]

    # --- the sync twins ---------------------------------------------------------------------------

    def retrieve(self, response_id: str) -> BaseLMResponse:
        """`retrieve_async` for callers that do not await."""
        return sync.run(self.retrieve_async(response_id))

    def input_items(
        self,
        response_id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
    ) -> list[Item]:
        """`input_items_async` for callers that do not await."""
        return sync.run(self.input_items_async(response_id, after=after, limit=limit, order=order))

    def training_examples(
        self, response_id: str, *, only_from: str | None = None
    ) -> list[TrainingExample]:
        """`training_examples_async` for callers that do not await."""
        return sync.run(self.training_examples_async(response_id, only_from=only_from))

    def annotate(
        self, response_id: str, /, *, reward: float | Unchanged | None = UNCHANGED, **tags: Any
    ) -> None:
        """`annotate_async` for callers that do not await."""
        sync.run(self.annotate_async(response_id, reward=reward, **tags))

    def export(
        self, path: str | os.PathLike[str], response_ids: Iterable[str] | None = None
    ) -> int:
        """`export_async` for callers that do not await."""
        return sync.run(self.export_async(path, response_ids))

    def import_(self, path: str | os.PathLike[str]) -> int:
        """`import_async` for callers that do not await; `import` is a keyword of Python."""
        return sync.run(self.import_async(path))

    def delete(self, response_id: str, *, descendants: bool = False) -> None:
        """`delete_async` for callers that do not await."""
        sync.run(self.delete_async(response_id, descendants=descendants))

    def redact(self, response_id: str, *, tags: bool = False) -> None:
        """`redact_async` for callers that do not await."""
        sync.run(self.redact_async(response_id, tags=tags))

    def list(self, *, tags: Mapping[str, Any] | None = None) -> list[BaseLMResponse]:
        """`list_async` for callers that do not await."""
        return sync.run(self.list_async(tags=tags))

    # --- the store and the server -----------------------------------------------------------------

    async def _read_whole(self, turn: Turn) -> BaseLMResponse:
        """Make the response of a turn with the ids of its prompt, which takes its whole branch."""
        response = as_response(turn, self._config.prices)
        if turn.prompt_hash is None:
            return response

        chain = await self._config.store.chain(turn.id)
        # Rendering a long branch takes a while.
        response.prompt_token_ids = await run_on_thread(render_prompt_ids, chain or ())
        return response

    async def _get_turn(self, response_id: str) -> Turn:
        check_id(response_id, "response_id")
        turn = await self._config.store.get(response_id)
        if turn is None:
            raise UnknownResponseError(self._config.store.explain_missing(response_id))
        return turn

    async def _get_chain(self, response_id: str) -> Sequence[Turn]:
        check_id(response_id, "response_id")
        chain = await self._config.store.chain(response_id)
        if chain is None:
            raise UnknownResponseError(self._config.store.explain_missing(response_id))
        return chain

    async def _ask_server(self, response_id: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the server for what the store lacks.

        Raises:
            UnknownResponseError: it does not have it, or no server of this API keeps responses.
        """
        missing = self._config.store.explain_missing(response_id)
        if not self._config.vendor.api.keeps_responses:
            raise UnknownResponseError(missing)

        self._config.lifetime.check()
        try:
            return await self._config.retry.run(ask)
        except NotFoundError as error:
            raise UnknownResponseError(f"{missing} The server does not have it either.") from error

    def _complete(self, response: BaseLMResponse) -> BaseLMResponse:
        """Fill in what only LM knows of a response that comes from the server."""
        response.api_type = self._config.vendor.api.name
        response.output = complete_items(response.output, response.response_id)
        price = find_price(response.model or self._config.model, self._config.prices)
        if price is not None and response.usage is not None:
            response.cost = price.cost_of(response.usage)
        return response

    async def _delete_unstored(self, response_id: str) -> None:
        """Delete a response that only the server may have.

        Raises:
            NotFoundError: it has not, or the API has no server that keeps responses.
        """
        vendor = self._config.vendor
        if not vendor.api.keeps_responses:
            raise NotFoundError(f"No server of the {vendor.api.name} API keeps responses.")

        await self._config.retry.run(partial(vendor.delete, response_id))

    async def _delete_on_server(self, turns: Sequence[Turn]) -> None:
        """Delete those of the turns that this LM's server keeps.

        Raises:
            ServerError: some could not be deleted; all were tried.
        """
        vendor = self._config.vendor
        retry = self._config.retry
        slots = asyncio.Semaphore(_MAX_DELETIONS)

        async def delete(id: str) -> None:
            async with slots:
                with suppress(NotFoundError):
                    await retry.run(partial(vendor.delete, id))

        ids = []
        for turn in turns:
            if turn.stored_on_server and turn.server == vendor.server:
                ids.append(turn.id)

        results = await asyncio.gather(*map(delete, ids), return_exceptions=True)

        errors: dict[str, BaseException] = {}
        for id, error in zip(ids, results, strict=True):
            if error is not None:
                errors[id] = error
        if errors:
            first_error = next(iter(errors.values()))
            first_error.add_note(f"The server may still have {', '.join(errors)}.")
            raise first_error


def _check_page(limit: int | None, order: str) -> None:
    if limit is not None and not is_positive_int(limit):
        raise OptionError(f"limit must be a whole number from 1, or None for all, not {limit!r}.")
    if order not in ("asc", "desc"):
        raise OptionError(f"order must be 'asc' or 'desc', not {order!r}.")


async def _read_pages(
    read_page: Callable[[str | None, int], Awaitable[ItemPage]],
    after: str | None,
    limit: int | None,
) -> list[Item]:
    """Read items page by page.

    Args:
        read_page: reads so many items behind the one of this id.
        after: the id to begin behind; None for the first item.
        limit: the most items; None for all.
    """
    items: list[Item] = []
    seen = {None, after}
    while limit is None or len(items) < limit:
        count = _MAX_PAGE if limit is None else min(_MAX_PAGE, limit - len(items))
        page = await read_page(after, count)
        items += page.items
        # A server that gives one page again and again would never end.
        if not page.has_more or page.last_id in seen:
            break
        after = page.last_id
        seen.add(after)

    return items[:limit]


def _cut_page(
    items: Sequence[Item], after: str | None, limit: int | None, order: Order
) -> Sequence[Item]:
    """Cut the items that were asked for out of a whole conversation.

    Raises:
        RequestError: no item has the id `after`.
    """
    if order == "desc":
        items = items[::-1]
    if after is not None:
        ids = [item.get("id") for item in items]
        if after not in ids:
            raise RequestError(f"No item of this response has the id {after!r:.100}.")
        items = items[ids.index(after) + 1 :]
    return items[:limit]


def as_response(turn: Turn, prices: Mapping[str, Price]) -> BaseLMResponse:
    """Make the response that a stored turn was; it shares nothing that its reader could change."""
    usage = Usage(**turn.usage) if turn.usage else None
    price = find_price(turn.model, prices)
    cost = None
    if turn.cached:
        cost = 0.0
    elif price is not None and usage is not None:
        cost = price.cost_of(usage)

    token_ids = turn.output_token_ids
    return BaseLMResponse.of_output(
        [copy_json(item) for item in turn.output],
        response_id=turn.id,
        previous_response_id=turn.parent_id,
        api_type=turn.api_type,
        model=turn.model,
        status=turn.status,
        incomplete_reason=turn.incomplete_reason,
        error=turn.error,
        usage=usage,
        cost=cost,
        output_token_ids=None if token_ids is None else list(token_ids),
        logprobs=unpack_logprobs(turn),
        logprobs_mode=turn.logprobs_mode,
        temperature=turn.temperature,
        request_id=turn.request_id,
        attempts=0 if turn.cached else 1,
        created_at=turn.created_at,
        latency=turn.latency,
        time_to_first_token=turn.time_to_first_token,
        cached=turn.cached,
        reward=turn.reward,
        tags=copy_json(dict(turn.tags)),
        replayed=turn.replay_reason is not None,
        replay_reason=turn.replay_reason,
        warnings=list(turn.warnings),
    )
