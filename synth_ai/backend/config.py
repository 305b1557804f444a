"""What a backend serves, to whom, and how much of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TypeAlias

from synth_ai.backend.callers import Authenticate
from synth_ai.backend.keys import KeyFile
from synth_ai.backend.limits import Limits
from synth_ai.backend.usage import OnUsage
from synth_ai.errors import OptionError
from synth_ai.lm.lm import LM
from synth_ai.store.base import ResponseStore

StorePlace: TypeAlias = str | os.PathLike[str] | ResponseStore | None

#: The models behind a Synth backend, whatever else the server behind it lists.
UPSTREAM_MODELS = ("gpt-oss-20b", "gpt-oss-120b")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """What a backend serves, to whom, and how much of it.

    Attributes:
        upstream: the address of the server behind it, such as `http://localhost:8000/v1`.
        lm: the LM behind it, in this process. One of the two is given.
        upstream_key: the key for the server behind it; None passes on the one that a caller sent.
        models: the models that may be asked for of an upstream.
        store: where responses are kept: a path, a URL or a store; in memory by default. An LM
            brings its own.
        keys: who may ask: a `KeyFile`, or a function from a key to the name of whose it is; None
            lets everybody ask.
        limits: how much each caller may ask for.
        on_usage: takes a record of each response.
        prefix: what the paths begin with.

    Raises:
        OptionError: there is none of both, or both, of `upstream` and `lm`.
    """

    upstream: str | None = None
    lm: LM | None = None
    upstream_key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = UPSTREAM_MODELS
    store: StorePlace = None
    keys: KeyFile | Authenticate | None = None
    limits: Limits = field(default_factory=Limits)
    on_usage: OnUsage | None = None
    prefix: str = "/api/v1"

    def __post_init__(self) -> None:
        if (self.upstream is None) == (self.lm is None):
            raise OptionError(
                "Give one of upstream= (the address of a server) and lm= (an LM in this process)."
            )
        if self.lm is not None and self.store is not None:
            raise OptionError("An LM brings its own store: give it response_store= instead.")

    @property
    def needs_key(self) -> bool:
        """Whether a request without a key is refused though nobody here knows the keys."""
        return self.upstream is not None and self.upstream_key is None
