"""What runs vLLM behind a `VLLMEngine`."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from synth_ai.engines.base import EngineFacts
from synth_ai.engines.mailbox import EngineCall


class Driver(Protocol):
    """One vLLM on a thread that nobody else uses: it is started once and stopped once.

    Every method may be called from any thread.
    """

    def start(self) -> Future[EngineFacts]:
        """Start to load the model.

        Returns:
            A future that gets the facts when vLLM serves, or an EngineStartError.
        """

    def submit(self, call: EngineCall) -> None:
        """Start a call. Its deltas, or the error that ends it, are put into the call.

        Raises:
            EngineDeadError: vLLM has stopped.
        """

    def cancel(self, call: EngineCall) -> None:
        """Abort a call, if it is still running."""

    def running(self) -> int:
        """Count the calls that vLLM has, waiting ones included."""

    def is_dead(self) -> bool:
        """Whether vLLM has stopped by itself."""

    def stop(self, *, wait: bool = True) -> None:
        """End the calls and stop. Safe to call more than once.

        Args:
            wait: return when everything has ended.
        """
