"""A store from outside the package: the four required methods, a scheme, and public names alone."""

from __future__ import annotations

import pickle
import threading

from synth_ai import ResponseStore, Turn, register_store
from synth_ai.errors import StoreConflictError

SCHEME = "outside"

# Rows by id, for each URL: stores of one URL share them, as they would share a server.
_servers: dict[str, dict[str, bytes]] = {}
_lock = threading.Lock()


class OutsideStore(ResponseStore):
    """Turns of this process, each as the bytes that a server would get."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.closed = False
        self._rows = _servers.setdefault(url, {})

    async def put(self, turn: Turn) -> None:
        with _lock:
            stored = self._load(turn.id)
            if stored is not None and stored.parent_id != turn.parent_id:
                raise StoreConflictError(f"{turn.id!r} continues from another turn.")
            self._rows[turn.id] = pickle.dumps(turn)

    async def get(self, id: str) -> Turn | None:
        with _lock:
            return self._load(id)

    async def delete(self, id: str, *, descendants: bool = False) -> bool:
        found = await self.descendants(id)
        if found and not descendants:
            raise StoreConflictError(f"{len(found)} turn(s) continue from {id!r}.")
        with _lock:
            for turn in found:
                self._rows.pop(turn.id, None)
            return self._rows.pop(id, None) is not None

    async def list(self) -> list[Turn]:
        with _lock:
            return [pickle.loads(row) for row in self._rows.values()]

    async def aclose(self) -> None:
        self.closed = True

    def _load(self, id: str) -> Turn | None:
        row = self._rows.get(id)
        return None if row is None else pickle.loads(row)


register_store(SCHEME, OutsideStore)
