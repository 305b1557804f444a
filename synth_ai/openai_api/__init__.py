"""OpenAI's shapes over an LM: clients of the openai SDK without a server, and the bodies alone.

::

    from synth_ai import LM, openai_api

    lm = LM("gpt-oss-20b")
    client = openai_api.client(lm)
    answer = await client.responses.create(model=lm.model, input="Hi")
"""

from __future__ import annotations

from synth_ai.openai_api.adapters import chat_completion, chunks, events, response
from synth_ai.openai_api.clients import client, sync_client

__all__ = ["chat_completion", "chunks", "client", "events", "response", "sync_client"]
