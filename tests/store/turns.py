"""Turns for the tests: small, and each different from the others."""

from __future__ import annotations

from typing import Any

from synth_ai.turn import Turn


def make_turn(id: str, parent_id: str | None = None, **facts: Any) -> Turn:
    """A turn that asks and answers something about its own id."""
    asked = {"type": "message", "role": "user", "content": f"What is {id}?"}
    answer = {"type": "output_text", "text": f"It is {id}.", "annotations": []}
    defaults: dict[str, Any] = {
        "api_type": "harmony",
        "model": "gpt-oss-20b",
        "input": (asked,),
        "output": (
            {
                "type": "reasoning",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": f"Look up {id}."}],
            },
            {"type": "message", "role": "assistant", "status": "completed", "content": [answer]},
        ),
        "usage": {"input_tokens": 20, "output_tokens": 10},
    }
    return Turn(id=id, parent_id=parent_id, **(defaults | facts))


def make_chain(length: int, start: str = "turn") -> list[Turn]:
    """Turns of which each continues the one before."""
    return [make_turn(f"{start}_{n}", f"{start}_{n - 1}" if n else None) for n in range(length)]
