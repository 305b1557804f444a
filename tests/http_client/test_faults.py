"""Many calls against a service that fails one in five: each ends in its answer or last error."""

from __future__ import annotations

from servers.faults import FAULTS, Run
from servers.openai_fake import OpenAIServer


async def test_calls_to_a_failing_service(openai_server: OpenAIServer) -> None:
    """As many attempts as the policy says, no answer mixed up, no connection or task left over."""
    run = Run(calls=400, in_flight=20, patience=3.0)
    await run.against(openai_server)
    assert run.problems == []
    assert run.met.keys() == FAULTS.keys()
    assert min(run.answered["none"], run.failed.total()) > 20
