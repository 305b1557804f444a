"""Turns in memory by a hash of theirs."""

from __future__ import annotations

from collections.abc import Iterator


class HashIndex:
    """Finds the ids that have a hash, the newest first."""

    def __init__(self) -> None:
        self._ids: dict[str, list[str]] = {}

    def add(self, digest: str | None, id: str) -> None:
        """Add an id, as the newest of its hash; nothing if it has none."""
        if digest is not None:
            self._ids.setdefault(digest, []).append(id)

    def replace(self, before: str | None, now: str | None, id: str) -> None:
        """Move an id to another hash; with the same one it keeps its place."""
        if before != now:
            self.remove(before, id)
            self.add(now, id)

    def remove(self, digest: str | None, id: str) -> None:
        """Remove an id that was added."""
        if digest is None:
            return

        ids = self._ids[digest]
        ids.remove(id)
        if not ids:
            del self._ids[digest]

    def find(self, digest: str) -> Iterator[str]:
        """Give the ids of a hash, the newest first."""
        return reversed(self._ids.get(digest, ()))
