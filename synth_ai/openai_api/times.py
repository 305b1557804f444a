"""When an answer began and ended, in seconds since the epoch. Pure."""

from __future__ import annotations

import time

from synth_ai.response import BaseLMResponse


def find_start(answer: BaseLMResponse) -> float:
    """Find when the call of an answer was sent; now, if the answer does not say."""
    return find_end(answer) - (answer.latency or 0.0)


def find_end(answer: BaseLMResponse) -> float:
    """Find when an answer was there; now, if it does not say."""
    return time.time() if answer.created_at is None else answer.created_at
