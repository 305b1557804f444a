"""The LM behind requests: no request continues another one unless it says so."""

from __future__ import annotations

from dataclasses import replace

from synth_ai.api import API
from synth_ai.lm.conversation import Head
from synth_ai.lm.lm import LM
from synth_ai.openai_api.unwritten_store import UnwrittenStore
from synth_ai.turn import Turn


class Handle:
    """An LM as requests reach it.

    Attributes:
        lm: the same backend and store, without a head.
        api: what it speaks.
    """

    def __init__(self, lm: LM) -> None:
        self.lm = lm.detached()
        self.api: API = lm._config.vendor.api

    @property
    def holds_calls(self) -> bool:
        """Whether a streamed call may begin anew: an engine's may, see `HeldCalls`."""
        return self.lm.engine is not None

    def for_call(self, *, is_kept: bool) -> LM:
        """Return the LM for a call; one that is not kept leaves nothing in the store."""
        if is_kept:
            return self.lm

        config = self.lm._config
        unwritten = replace(config, store=UnwrittenStore(config.store))
        return self.lm._derive(Head(), starts_from_head=False, config=unwritten)

    async def find_turn(self, response_id: str) -> Turn | None:
        """Find the stored turn of a response; None if only a server has it."""
        return await self.lm._config.store.get(response_id)
