"""Clients of the openai SDK whose server is an LM in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synth_ai.lm.lm import LM
from synth_ai.openai_api.handles import Handle

if TYPE_CHECKING:
    import openai


def client(lm: LM) -> openai.AsyncOpenAI:
    """Make an `openai.AsyncOpenAI` whose server is an LM in this process.

    Whatever takes such a client runs on the LM's backend: Responses and Chat Completions, streams,
    `parse`, `retrieve`, `delete`, `input_items` and `models`. The model to name is `lm.model`.

    A request says all that counts: the system message, the tools and the shape of the answer are
    its own, as with a server, and not those of the LM. The LM's other options stand in for what a
    request leaves out. No request continues another unless it has a `previous_response_id`.

    Args:
        lm: the LM. Closing the client leaves it open.
    """
    from synth_ai.openai_api.transport import make_async_client

    return make_async_client(Handle(lm))


def sync_client(lm: LM) -> openai.OpenAI:
    """Make an `openai.OpenAI` whose server is an LM in this process; see `client`."""
    from synth_ai.openai_api.transport import make_sync_client

    return make_sync_client(Handle(lm))
