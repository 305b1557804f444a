"""`lm.responses`: the responses that are kept, by the names that the openai SDK has for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from synth_ai.content import Item
from synth_ai.errors import NotFoundError, UnknownResponseError
from synth_ai.lm import sync as portal
from synth_ai.lm.prices import Price, find_price
from synth_ai.response import BaseLMResponse, Usage
from synth_ai.store.json import copy_json
from synth_ai.store.transfer import export_turns, import_turns
from synth_ai.turn import Turn

if TYPE_CHECKING:
    from synth_ai.lm.config import LMConfig
    from synth_ai.lm.training import TrainingExample


#: How many responses a server is told to delete at a time.
_AT_ONCE = 16


class StoredResponses:
    """Responses in the store of an LM. Every method has an `_async` twin."""

    def __init__(self, config: LMConfig) -> None:
        self._config = config

    async def retrieve_async(self, response_id: str) -> BaseLMResponse:
        """The response of this id; a copy, to do with as you like.

        Its cost is that of today's prices. Not kept, and so not in it, are `structured_output`, `logprobs`,
        `prompt_token_ids`, `attempts` and `raw`.

        Raises:
            UnknownResponseError: it is not in the store.
        """
        return as_response(await self._turn_of(response_id), self._config.prices)

    async def input_items_async(self, response_id: str) -> list[Item]:
        """The items that were put in on the way to this response: those of its whole conversation, oldest first.

        Raises:
            UnknownResponseError: it, or a turn before it, is not in the store.
        """
        chain = await _chain_of(self._config, response_id)
        items: list[Item] = []
        for turn in chain[:-1]:
            items += [*turn.input, *turn.output]
        return [copy_json(item) for item in (*items, *chain[-1].input)]

    async def training_examples_async(self, response_id: str) -> list[TrainingExample]:
        """The branch up to this response as exact token ids with a loss mask; see `synth_ai.lm.training`.

        Raises:
            UnknownResponseError: it, or a turn before it, is not in the store.
            RequestError: no turn of the branch has sampled ids.
        """
        from synth_ai.lm.training import training_examples

        return training_examples(await _chain_of(self._config, response_id))

    async def export_async(
        self, path: str | os.PathLike[str], response_ids: Iterable[str] | None = None
    ) -> int:
        """Write responses to a file that another store can import, and return how many turns it holds.

        Args:
            path: the file; an earlier export is replaced, no other file is.
            response_ids: the responses to write, each with all that it continues from; every one by default.

        Raises:
            StoreError: a response is not all in the store, or the file cannot be written.
        """
        return await export_turns(self._config.store, path, response_ids)

    async def import_async(self, path: str | os.PathLike[str]) -> int:
        """Add the responses of an exported file, all or none, and return how many were new.

        Raises:
            StoreError: the file cannot be read, is no export or is damaged, or clashes with what is here.
        """
        return await import_turns(self._config.store, path)

    async def delete_async(self, response_id: str, *, descendants: bool = False) -> None:
        """Forget a response, here and on the server that keeps it.

        Args:
            response_id: the response.
            descendants: forget the responses here that continue from it too, and on that server as well.

        Raises:
            UnknownResponseError: neither has it.
            StoreError: other responses continue from it and `descendants` is not set.
            ServerError: the server could not be told. Here they are forgotten; the notes of the error name those that
                the server may still have, which can be deleted again by their ids.
        """
        store = self._config.store
        turn = await store.get(response_id)
        after = await store.descendants(response_id) if descendants else []
        known = await store.delete(response_id, descendants=descendants)
        if turn is not None:
            await self._delete_on_server([turn, *after])
            return
        vendor = self._config.vendor
        try:
            if vendor.api_type != "responses":
                raise NotFoundError(f"No server of the {vendor.api_type} API keeps responses.")
            await self._config.retry.run(partial(vendor.delete, response_id))
        except NotFoundError as error:
            if not known:
                raise UnknownResponseError(store.explain_missing(response_id)) from error

    async def redact_async(self, response_id: str) -> None:
        """Take the text of a response out of its conversation for good; the responses that continue from it stay.

        Every text, argument and picture of what was asked and answered becomes `[redacted]`; its reasoning, token ids
        and warnings go, and of its settings all but numbers. Its place in the tree, its usage, roles, call ids and
        the names of functions stay, and so do the system message and the tools, which the whole branch has. In the
        file of a store the old bytes are overwritten.

        A server that keeps the response is told to delete it, and those that continue from it, as they would bring
        the text back. Conversations go on from any of them: they are sent again in full, with `[redacted]` in place
        of the text. Not reached are other turns that quote it, files that were exported, a call that is under way,
        and servers other than this LM's; for the store alone, without a server, there is `ResponseStore.redact`.

        Raises:
            UnknownResponseError: it is not in the store.
            ServerError: the server could not be told, so nothing was redacted: call again. The notes of the error
                name what the server may still have.
            StoreError: it could not be written.
        """
        store = self._config.store
        turn = await self._turn_of(response_id)
        # The server first: the redacted turn no longer says that it is there.
        await self._delete_on_server([turn, *await store.descendants(response_id)])
        if not await store.redact(response_id):
            raise UnknownResponseError(store.explain_missing(response_id))

    async def list_async(self) -> list[BaseLMResponse]:
        """Every response in the store, oldest first."""
        return [as_response(turn, self._config.prices) for turn in await self._config.store.list()]

    def retrieve(self, response_id: str) -> BaseLMResponse:
        """`retrieve_async` for callers that do not await."""
        return portal.run(self.retrieve_async(response_id))

    def input_items(self, response_id: str) -> list[Item]:
        """`input_items_async` for callers that do not await."""
        return portal.run(self.input_items_async(response_id))

    def training_examples(self, response_id: str) -> list[TrainingExample]:
        """`training_examples_async` for callers that do not await."""
        return portal.run(self.training_examples_async(response_id))

    def export(
        self, path: str | os.PathLike[str], response_ids: Iterable[str] | None = None
    ) -> int:
        """`export_async` for callers that do not await."""
        return portal.run(self.export_async(path, response_ids))

    def import_(self, path: str | os.PathLike[str]) -> int:
        """`import_async` for callers that do not await; `import` is a word of Python's own."""
        return portal.run(self.import_async(path))

    def delete(self, response_id: str, *, descendants: bool = False) -> None:
        """`delete_async` for callers that do not await."""
        portal.run(self.delete_async(response_id, descendants=descendants))

    def redact(self, response_id: str) -> None:
        """`redact_async` for callers that do not await."""
        portal.run(self.redact_async(response_id))

    def list(self) -> list[BaseLMResponse]:
        """`list_async` for callers that do not await."""
        return portal.run(self.list_async())

    async def _turn_of(self, response_id: str) -> Turn:
        turn = await self._config.store.get(response_id)
        if turn is None:
            raise UnknownResponseError(self._config.store.explain_missing(response_id))
        return turn

    async def _delete_on_server(self, turns: Sequence[Turn]) -> None:
        """Delete those of the turns that this LM's server keeps.

        Raises:
            ServerError: some could not be deleted; all were tried.
        """
        vendor, retry = self._config.vendor, self._config.retry
        places = asyncio.Semaphore(_AT_ONCE)

        async def delete(id: str) -> None:
            async with places:
                with suppress(NotFoundError):
                    await retry.run(partial(vendor.delete, id))

        ids = [turn.id for turn in turns if turn.stored_on_server and turn.server == vendor.server]
        results = await asyncio.gather(*map(delete, ids), return_exceptions=True)
        errors = {id: result for id, result in zip(ids, results, strict=True) if result is not None}
        for error in errors.values():
            error.add_note(f"The server may still have {', '.join(errors)}.")
            raise error


async def _chain_of(config: LMConfig, response_id: str) -> list[Turn]:
    chain = await config.store.chain(response_id)
    if chain is None:
        raise UnknownResponseError(config.store.explain_missing(response_id))
    return chain


def as_response(turn: Turn, prices: Mapping[str, Price]) -> BaseLMResponse:
    """A stored turn as the response that it was, sharing nothing with it that could be changed."""
    usage = Usage(**turn.usage) if turn.usage else None
    price = find_price(turn.model, prices)
    facts: dict[str, Any] = {
        "response_id": turn.id,
        "previous_response_id": turn.parent_id,
        "api_type": turn.api_type,
        "model": turn.model,
        "status": turn.status,
        "incomplete_reason": turn.incomplete_reason,
        "error": turn.error,
        "usage": usage,
        "cost": price.of(usage) if price is not None and usage is not None else None,
        "output_token_ids": list(turn.output_token_ids)
        if turn.output_token_ids is not None
        else None,
        "request_id": turn.request_id,
        "replayed": turn.replay_reason is not None,
        "replay_reason": turn.replay_reason,
        "warnings": list(turn.warnings),
    }
    return BaseLMResponse.of_output([copy_json(item) for item in turn.output], **facts)
