"""LMs over the stand-in for OpenAI's service, for the tests of the hosted path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from servers.openai_fake import OpenAIServer

from synth_ai import LM, RetryPolicy

HostedLM = Callable[..., LM]


@pytest.fixture
def hosted(openai_server: OpenAIServer) -> HostedLM:
    """Make an LM that calls the stand-in: `hosted("responses")`, with any of LM's options; it never waits."""

    def make(api: str = "responses", **options: Any) -> LM:
        return LM(
            "gpt-5",
            base_url=openai_server.base_url,
            **{"api": api, "api_key": openai_server.api_key, "retry": RetryPolicy(first_wait=0), **options},
        )

    return make
