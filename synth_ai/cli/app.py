"""The commands of `synth-ai`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from synth_ai._version import __version__
from synth_ai.errors import UnknownResponseError
from synth_ai.store.base import Turn
from synth_ai.store.opening import open_store
from synth_ai.store.tree import Tree

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Look at what synth_ai has kept, and see how it would run a model."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def tree(
    store: Annotated[Path, typer.Argument(help="The file that the turns are kept in.")],
    response_id: Annotated[str | None, typer.Argument(help="Only the conversation of this response.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file instead of printing.")] = None,
    mermaid: Annotated[bool, typer.Option(help="Print a Mermaid diagram.")] = False,
    json: Annotated[bool, typer.Option(help="Print the tree as JSON.")] = False,
) -> None:
    """Draw the conversations in a store."""
    if not store.exists():
        raise typer.BadParameter(f"There is no file {store}.")
    drawn = Tree.of(asyncio.run(_turns(store)), head=response_id)
    if response_id is not None:
        if response_id not in drawn.turns:
            raise UnknownResponseError(f"There is no response {response_id!r} in {store}.")
        drawn = drawn.around(response_id)
    if html is not None:
        html.write_text(drawn.to_html(), encoding="utf-8")
        typer.echo(f"Wrote {html}")
    elif mermaid:
        typer.echo(drawn.to_mermaid())
    elif json:
        typer.echo(drawn.to_json())
    else:
        Console().print(drawn)


async def _turns(path: Path) -> list[Turn]:
    store = open_store(path)
    try:
        return await store.list()
    finally:
        await store.aclose()
