"""A PostgreSQL server of the tests' own, on a socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

# Where Debian puts the programs of a server, which are not on PATH there.
_DEBIAN = Path("/usr/lib/postgresql")

# Who runs the server where we are root, which initdb refuses.
_USERS = ("postgres", "nobody")


def find_programs() -> Path | None:
    """Return the folder with `initdb` and `pg_ctl`; None if there is none."""
    on_path = shutil.which("pg_ctl")
    if on_path is not None:
        return Path(on_path).resolve().parent

    versions = sorted(_DEBIAN.glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


class PostgreSQLServer:
    """A server with an empty cluster.

    Args:
        programs: the folder with its programs.

    Attributes:
        folder: holds its data and its socket.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # The path of a socket may have 107 characters, so pytest's own folders are too deep.
        self.folder = Path(tempfile.mkdtemp(prefix="synth-pg-", dir="/tmp"))
        self._user = _find_user()
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "synth", "-A", "trust", "-E", "UTF8", "-N")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        """The URL of a database."""
        return f"postgresql://synth@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        # Nothing here outlives a loss of power, so nobody waits for the disk.
        options = f"-c listen_addresses='' -c fsync=off -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` ends all connections, `immediate` is like a loss of power."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        """Stop it and start it again."""
        self.stop(mode)
        self.start()

    def make_database(self, name: str) -> str:
        """Make an empty database, and return its URL."""
        self._run("createdb", "-h", str(self.folder), "-U", "synth", name)
        return self.url(name)

    def remove(self) -> None:
        """Stop the server and remove all it wrote."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=60,
            cwd=self.folder,
            user=self._user,
        )


def _find_user() -> str | None:
    """Return the user to run the server as; None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise RuntimeError(f"PostgreSQL must not run as root, and none of {_USERS} is a user here")
