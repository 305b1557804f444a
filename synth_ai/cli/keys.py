"""`synth-ai keys`: the keys of a backend's callers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from synth_ai.backend.keys import KeyFile

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys of a backend.")

FileOption = Annotated[Path, typer.Option(help="The file of the keys.")]
NameArgument = Annotated[str, typer.Argument(help="Whose key it is.")]


@app.command()
def add(name: NameArgument, file: FileOption) -> None:
    """Make a key, and print it: nobody can see it again."""
    typer.echo(KeyFile(file).add(name))


@app.command("list")
def list_keys(file: FileOption) -> None:
    """List whose keys there are."""
    for key in KeyFile(file).list():
        made = datetime.fromtimestamp(key.created_at, UTC)
        typer.echo(f"{made:%Y-%m-%d %H:%M}  {key.name}")


@app.command()
def revoke(name: NameArgument, file: FileOption) -> None:
    """Revoke a key; a running server takes it no longer within a second."""
    KeyFile(file).revoke(name)
