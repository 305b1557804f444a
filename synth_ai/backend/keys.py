"""Keys of callers: a file of their hashes, which `synth-ai keys` writes and the server reads.

A key is 256 random bits, so a plain hash of it tells nothing; a slow one is for passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from synth_ai.errors import SettingError

#: How keys begin, so that people and scanners for leaked secrets know one when they see it.
PREFIX = "sk-synth-"

_MAX_NAME = 100

# Seconds after which the server looks whether the file has changed.
_RELOAD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What the file has of a key.

    Attributes:
        name: whose it is.
        hash: SHA-256 of the key, in hexadecimal digits.
        created_at: seconds since the epoch.
    """

    name: str
    hash: str
    created_at: float


class KeyFile:
    """A file of keys, one JSON object a line, readable by its owner alone.

    A server that has it open sees keys that are added and revoked within a second.

    Args:
        path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._keys: tuple[StoredKey, ...] = ()
        self._state: tuple[int, int] | None = None
        self._checked_at = -_RELOAD_SECONDS

    def find(self, key: str) -> str | None:
        """Find whose key this is; None if it is nobody's.

        All keys are compared in full, so the time it takes tells nothing about any of them.

        Raises:
            SettingError: the file cannot be read.
        """
        digest = _hash(key)
        found = None
        for stored in self._current():
            if hmac.compare_digest(stored.hash, digest):
                found = stored.name
        return found

    def list(self) -> Sequence[StoredKey]:
        """Return all keys, oldest first.

        Raises:
            SettingError: the file cannot be read.
        """
        return self._read()

    def add(self, name: str) -> str:
        """Make a key, and return it: this is the only time that it can be seen.

        Raises:
            SettingError: there is a key of this name, or the file cannot be written.
        """
        _check_name(name)
        keys = self._read() if self.path.exists() else ()
        if any(stored.name == name for stored in keys):
            raise SettingError(
                f"There is a key of the name {name!r} in {str(self.path)!r}; revoke it first, or "
                "choose another name."
            )

        key = PREFIX + secrets.token_urlsafe(32)
        self._write([*keys, StoredKey(name, _hash(key), round(time.time(), 3))])
        return key

    def revoke(self, name: str) -> None:
        """Remove a key.

        Raises:
            SettingError: there is no key of this name, or the file cannot be written.
        """
        keys = self._read()
        kept = [stored for stored in keys if stored.name != name]
        if len(kept) == len(keys):
            names = ", ".join(stored.name for stored in keys) or "none"
            raise SettingError(
                f"There is no key of the name {name!r:.100} in {str(self.path)!r}; there are: "
                f"{names}."
            )
        self._write(kept)

    def _current(self) -> tuple[StoredKey, ...]:
        """Return the keys, read again if the file has changed."""
        now = time.monotonic()
        if now - self._checked_at < _RELOAD_SECONDS:
            return self._keys

        state = self._read_state()
        if state != self._state:
            self._keys = self._read()
            self._state = state
        self._checked_at = now
        return self._keys

    def _read_state(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except OSError as error:
            raise self._unreadable(error.strerror) from error
        return status.st_mtime_ns, status.st_ino

    def _read(self) -> tuple[StoredKey, ...]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            return tuple(StoredKey(**json.loads(line)) for line in lines if line.strip())
        except OSError as error:
            raise self._unreadable(error.strerror) from error
        except (ValueError, TypeError) as error:
            raise self._unreadable("a line of it is not a key") from error

    def _unreadable(self, reason: str | None) -> SettingError:
        return SettingError(
            f"The keys in {str(self.path)!r} cannot be read: {reason}. "
            "`synth-ai keys add NAME --file FILE` makes such a file."
        )

    def _write(self, keys: Sequence[StoredKey]) -> None:
        """Write the file anew and put it in the place of the old one, in one step."""
        lines = "".join(json.dumps(asdict(stored)) + "\n" for stored in keys)
        try:
            # Readable by its owner alone from its first moment.
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(lines)
            os.replace(temporary, self.path)
        except OSError as error:
            raise SettingError(
                f"The keys in {str(self.path)!r} cannot be written: {error.strerror}."
            ) from error


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def _check_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > _MAX_NAME:
        raise SettingError(
            f"The name of a key must be 1 to {_MAX_NAME} printable characters, not {name!r:.120}."
        )
