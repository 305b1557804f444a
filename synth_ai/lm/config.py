"""What an LM and its forks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synth_ai.errors import RequestError
from synth_ai.limiter import ConcurrencyLimiter
from synth_ai.lm.compaction import Compactor
from synth_ai.lm.prices import Price
from synth_ai.lm.retry import RetryPolicy
from synth_ai.lm.structured_output import ResponseFormat
from synth_ai.lm.tool_executor import ToolExecutor
from synth_ai.lm.usage import UsageTotals
from synth_ai.lm.vendors.base import VendorBase
from synth_ai.options import GenerationOptions
from synth_ai.store.base import ResponseStore


class Lifetime:
    """Whether an LM, and with it its forks, has been closed.

    Attributes:
        is_over: whether it has.
    """

    def __init__(self) -> None:
        self.is_over = False

    def check(self) -> None:
        """Refuse a call after the end.

        Raises:
            RequestError: the LM was closed.
        """
        if self.is_over:
            raise RequestError("This LM was closed, so it takes no more calls: make a new one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LMConfig:
    """Where the calls of an LM go, where its turns are kept, and what is asked for by default.

    Attributes:
        model: the model's name, as given.
        vendor: the backend that answers.
        store: where turns are kept.
        defaults: options of every call that does not say otherwise.
        system_message: the system message of conversations that begin without one.
        tools: the LM's own tools, and the functions behind them.
        response_format: the shape of the answers; None for plain text.
        retry: what is tried again, and when.
        limiter: how many calls may be under way at once.
        prices: what models cost, by name.
        tags: labels of every call.
        cache: whether the store answers a deterministic request that it has an answer to.
        compactor: what shortens a conversation that no longer fits; None for an error.
        usage: adds up what the calls use, and has the cap on what they cost.
        lifetime: whether the LM was closed.
    """

    model: str
    vendor: VendorBase
    store: ResponseStore
    defaults: GenerationOptions
    system_message: str | None
    tools: ToolExecutor
    response_format: ResponseFormat | None
    retry: RetryPolicy
    limiter: ConcurrencyLimiter
    prices: Mapping[str, Price]
    tags: Mapping[str, Any] = field(default_factory=dict)
    cache: bool = False
    compactor: Compactor | None = None
    usage: UsageTotals = field(default_factory=UsageTotals)
    lifetime: Lifetime = field(default_factory=Lifetime)
