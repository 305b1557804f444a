"""`lm.responses`: the responses in the store, by the names that the openai SDK has for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from synth_ai.content import Item
from synth_ai.errors import NotFoundError, UnknownResponseError
from synth_ai.ids import check_id
from synth_ai.lm import sync
from synth_ai.lm.config import LMConfig
from synth_ai.lm.prices import Price, find_price
from synth_ai.response import BaseLMResponse, Usage
from synth_ai.store.json import copy_json
from synth_ai.store.transfer import export_turns, import_turns
from synth_ai.turn import Turn

if TYPE_CHECKING:
    from synth_ai.lm.training import TrainingExample

#: How many responses a server is asked to delete at a time.
_MAX_DELETIONS = 16


class StoredResponses:
    """The responses in the store of an LM. Every method has an `_async` twin."""

    def __init__(self, config: LMConfig) -> None:
        self._config = config

    async def retrieve_async(self, response_id: str) -> BaseLMResponse:
        """Read the response of this id; a copy, to do with as you like.

        Its cost is that of today's prices. The store does not have, and the copy lacks,
        `structured_output`, `logprobs`, `prompt_token_ids`, `attempts` and `raw`.

        Raises:
            UnknownResponseError: it is not in the store.
        """
        turn = await self._get_turn(response_id)
        return as_response(turn, self._config.prices)

    async def input_items_async(self, response_id: str) -> list[Item]:
        """Read what went in on the way to this response: its whole conversation, oldest first.

        Raises:
            UnknownResponseError: it, or a turn before it, is not in the store.
        """
        *before, last = await self._get_chain(response_id)
        items: list[Item] = []
        for turn in before:
            items += turn.input
            items += turn.output
        items += last.input
        return [copy_json(item) for item in items]

    async def training_examples_async(self, response_id: str) -> list[TrainingExample]:
        """Make training examples of the branch up to this response: token ids with a loss mask.

        See `synth_ai.lm.training`.

        Raises:
            UnknownResponseError: it, or a turn before it, is not in the store.
            RequestError: no turn of the branch has sampled ids.
        """
        # Imported here: an LM of another API never needs the modules of Harmony.
        from synth_ai.lm.training import training_examples

        return training_examples(await self._get_chain(response_id))

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

    async def redact_async(self, response_id: str) -> None:
        """Remove the text of a response for good; the responses that continue from it stay.

        Every text, argument and picture of what was asked and answered becomes `[redacted]`.
        Removed are also its reasoning, token ids and warnings, and all settings but numbers. Its
        place in the tree, its usage, roles, call ids and the names of functions stay, and so do the
        system message and the tools, which belong to the whole branch. In the file of a store the
        old bytes are overwritten.

        A server that keeps the response is asked to delete it, and those that continue from it, as
        they would bring the text back. Conversations can still continue from any of them: they are
        sent again in full, with `[redacted]` in place of the text.

        Not reached are other turns that quote it, files that were exported, a call that is under
        way, and servers other than this LM's. `ResponseStore.redact` does the same in a store
        alone, without a server.

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
        if not await store.redact(response_id):
            raise UnknownResponseError(store.explain_missing(response_id))

    async def list_async(self) -> list[BaseLMResponse]:
        """Read every response in the store, oldest first."""
        turns = await self._config.store.list()
        return [as_response(turn, self._config.prices) for turn in turns]

    # --- the sync twins ---------------------------------------------------------------------------

    def retrieve(self, response_id: str) -> BaseLMResponse:
        """`retrieve_async` for callers that do not await."""
        return sync.run(self.retrieve_async(response_id))

    def input_items(self, response_id: str) -> list[Item]:
        """`input_items_async` for callers that do not await."""
        return sync.run(self.input_items_async(response_id))

    def training_examples(self, response_id: str) -> list[TrainingExample]:
        """`training_examples_async` for callers that do not await."""
        return sync.run(self.training_examples_async(response_id))

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

    def redact(self, response_id: str) -> None:
        """`redact_async` for callers that do not await."""
        sync.run(self.redact_async(response_id))

    def list(self) -> list[BaseLMResponse]:
        """`list_async` for callers that do not await."""
        return sync.run(self.list_async())

    # --- the store and the server -----------------------------------------------------------------

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


def as_response(turn: Turn, prices: Mapping[str, Price]) -> BaseLMResponse:
    """Make the response that a stored turn was; it shares nothing that its reader could change."""
    usage = Usage(**turn.usage) if turn.usage else None
    price = find_price(turn.model, prices)
    cost = None
    if price is not None and usage is not None:
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
        request_id=turn.request_id,
        replayed=turn.replay_reason is not None,
        replay_reason=turn.replay_reason,
        warnings=list(turn.warnings),
    )
