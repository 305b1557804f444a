"""One client for hosted models and gpt-oss on your own GPU, with conversations that fork.

Names are loaded when they are first asked for, so that importing the package costs next to nothing
and brings in neither openai nor vLLM nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from synth_ai._version import __version__

if TYPE_CHECKING:
    from synth_ai import errors, harmony, openai_api
    from synth_ai.api import API
    from synth_ai.engines.base import Engine, Sampling
    from synth_ai.engines.registry import register_engine
    from synth_ai.engines.transformers import TransformersEngine
    from synth_ai.engines.vllm.engine import VLLMEngine
    from synth_ai.engines.vllm.server import RemoteEngine
    from synth_ai.events import (
        Completed,
        PreambleDelta,
        ReasoningDelta,
        Started,
        StreamEvent,
        TextDelta,
        ToolCallDelta,
    )
    from synth_ai.images import image_part
    from synth_ai.lm.approval import (
        ApprovalDecision,
        ApprovalRequest,
        Approve,
        Approver,
        Defer,
        Deny,
    )
    from synth_ai.lm.arguments import CallArguments
    from synth_ai.lm.lm import LM
    from synth_ai.lm.prices import Price
    from synth_ai.lm.request import LMRequest
    from synth_ai.lm.retry import RetryPolicy
    from synth_ai.lm.streams import ResponseStream, SyncResponseStream
    from synth_ai.lm.token_count import TokenCount
    from synth_ai.lm.tool_loop import RunArguments
    from synth_ai.lm.tool_run import (
        RunCompleted,
        RunEvent,
        ToolFinished,
        ToolResult,
        ToolRun,
        ToolStarted,
        ToolStep,
    )
    from synth_ai.lm.tool_streams import SyncToolStream, ToolStream
    from synth_ai.lm.tools import BaseTool, Tool, ToolLike
    from synth_ai.lm.vendors.base import VendorBase
    from synth_ai.lm.vendors.registry import Endpoint, register_vendor
    from synth_ai.options import GenerationOptions, Option, options_named
    from synth_ai.response import BaseLMResponse, Usage
    from synth_ai.store.base import ResponseStore
    from synth_ai.store.memory import MemoryStore
    from synth_ai.store.open import register_store
    from synth_ai.store.sqlite.store import SQLiteStore
    from synth_ai.timeout import Timeout
    from synth_ai.tree.tree import Tree
    from synth_ai.turn import Turn

_HOMES = {
    "API": "synth_ai.api",
    "CallArguments": "synth_ai.lm.arguments",
    "Endpoint": "synth_ai.lm.vendors.registry",
    "GenerationOptions": "synth_ai.options",
    "Option": "synth_ai.options",
    "image_part": "synth_ai.images",
    "options_named": "synth_ai.options",
    "register_vendor": "synth_ai.lm.vendors.registry",
    "BaseLMResponse": "synth_ai.response",
    "BaseTool": "synth_ai.lm.tools",
    "Completed": "synth_ai.events",
    "Engine": "synth_ai.engines.base",
    "LM": "synth_ai.lm.lm",
    "LMRequest": "synth_ai.lm.request",
    "MemoryStore": "synth_ai.store.memory",
    "PreambleDelta": "synth_ai.events",
    "ReasoningDelta": "synth_ai.events",
    "Price": "synth_ai.lm.prices",
    "RemoteEngine": "synth_ai.engines.vllm.server",
    "ResponseStore": "synth_ai.store.base",
    "ResponseStream": "synth_ai.lm.streams",
    "RetryPolicy": "synth_ai.lm.retry",
    "SQLiteStore": "synth_ai.store.sqlite.store",
    "Sampling": "synth_ai.engines.base",
    "Started": "synth_ai.events",
    "StreamEvent": "synth_ai.events",
    "SyncResponseStream": "synth_ai.lm.streams",
    "TextDelta": "synth_ai.events",
    "Timeout": "synth_ai.timeout",
    "ToolCallDelta": "synth_ai.events",
    "ApprovalDecision": "synth_ai.lm.approval",
    "ApprovalRequest": "synth_ai.lm.approval",
    "Approver": "synth_ai.lm.approval",
    "Approve": "synth_ai.lm.approval",
    "Defer": "synth_ai.lm.approval",
    "Deny": "synth_ai.lm.approval",
    "RunArguments": "synth_ai.lm.tool_loop",
    "RunCompleted": "synth_ai.lm.tool_run",
    "RunEvent": "synth_ai.lm.tool_run",
    "SyncToolStream": "synth_ai.lm.tool_streams",
    "Tool": "synth_ai.lm.tools",
    "ToolFinished": "synth_ai.lm.tool_run",
    "ToolLike": "synth_ai.lm.tools",
    "ToolResult": "synth_ai.lm.tool_run",
    "ToolRun": "synth_ai.lm.tool_run",
    "ToolStarted": "synth_ai.lm.tool_run",
    "ToolStep": "synth_ai.lm.tool_run",
    "ToolStream": "synth_ai.lm.tool_streams",
    "TransformersEngine": "synth_ai.engines.transformers",
    "TokenCount": "synth_ai.lm.token_count",
    "Tree": "synth_ai.tree.tree",
    "Turn": "synth_ai.turn",
    "Usage": "synth_ai.response",
    "VLLMEngine": "synth_ai.engines.vllm.engine",
    "VendorBase": "synth_ai.lm.vendors.base",
    "register_engine": "synth_ai.engines.registry",
    "register_store": "synth_ai.store.open",
}
_MODULES = ("errors", "harmony", "openai_api", "testing")

__all__ = [
    "API",
    "LM",
    "ApprovalDecision",
    "ApprovalRequest",
    "Approve",
    "Approver",
    "BaseLMResponse",
    "BaseTool",
    "CallArguments",
    "Completed",
    "Defer",
    "Deny",
    "Endpoint",
    "Engine",
    "GenerationOptions",
    "LMRequest",
    "MemoryStore",
    "Option",
    "PreambleDelta",
    "Price",
    "ReasoningDelta",
    "RemoteEngine",
    "ResponseStore",
    "ResponseStream",
    "RetryPolicy",
    "RunArguments",
    "RunCompleted",
    "RunEvent",
    "SQLiteStore",
    "Sampling",
    "Started",
    "StreamEvent",
    "SyncResponseStream",
    "SyncToolStream",
    "TextDelta",
    "Timeout",
    "TokenCount",
    "Tool",
    "ToolCallDelta",
    "ToolFinished",
    "ToolLike",
    "ToolResult",
    "ToolRun",
    "ToolStarted",
    "ToolStep",
    "ToolStream",
    "TransformersEngine",
    "Tree",
    "Turn",
    "Usage",
    "VLLMEngine",
    "VendorBase",
    "__version__",
    "errors",
    "harmony",
    "image_part",
    "openai_api",
    "options_named",
    "register_engine",
    "register_store",
    "register_vendor",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"synth_ai.{name}")
    else:
        raise AttributeError(f"module 'synth_ai' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
