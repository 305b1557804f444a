"""The commands of `synth-ai`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from synth_ai._version import __version__
from synth_ai.engines.gpus import card_named, find_cards
from synth_ai.engines.model_names import resolve_model
from synth_ai.engines.vllm.presets import (
    check_memory,
    choose_preset,
    format_config_file,
    format_serve_command,
    recommend_gpu_count,
)
from synth_ai.errors import EngineStartError, OptionError, UnknownResponseError
from synth_ai.store.sqlite.readonly import read_turns
from synth_ai.tree.tree import Tree

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Look at what synth_ai has kept, and see how it would run a model."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def tree(
    store: Annotated[Path, typer.Argument(help="The file that the turns are kept in.")],
    response_id: Annotated[
        str | None, typer.Argument(help="Only the conversation of this response.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a page to this file instead of printing; only a page is replaced."
        ),
    ] = None,
    mermaid: Annotated[bool, typer.Option(help="Print a Mermaid diagram.")] = False,
    json: Annotated[bool, typer.Option(help="Print the tree as JSON.")] = False,
) -> None:
    """Draw the conversations in a store, which is only read."""
    forms = [
        name
        for name, given in (("--html", html), ("--mermaid", mermaid), ("--json", json))
        if given
    ]
    if len(forms) > 1:
        raise OptionError(f"{' and '.join(forms)} contradict each other; give one of them.")
    drawn = Tree.of(read_turns(store), head=response_id)
    if response_id is not None:
        if response_id not in drawn.turns:
            raise UnknownResponseError(f"There is no response {response_id!r} in {store}.")
        drawn = drawn.around(response_id)
    if html is not None:
        drawn.save_html(html)
        typer.echo(f"Wrote {html}")
    elif mermaid:
        typer.echo(drawn.to_mermaid())
    elif json:
        typer.echo(drawn.to_json())
    else:
        Console().print(drawn)


@app.command("engine-args")
def engine_args(
    model: Annotated[str, typer.Argument(help="gpt-oss-20b, gpt-oss-120b or a folder.")],
    gpu: Annotated[
        str, typer.Option(help="The card, such as h100 or mi300x; auto asks this machine.")
    ] = "auto",
    gpus: Annotated[int | None, typer.Option(min=1, help="How many cards share the model.")] = None,
    eagle3: Annotated[bool, typer.Option(help="Decode speculatively (gpt-oss-120b).")] = False,
    streams: Annotated[
        bool, typer.Option(help="Whether anyone reads streams token by token.")
    ] = True,
    file: Annotated[
        bool, typer.Option(help="Print a file for vllm serve --config instead of a command.")
    ] = False,
) -> None:
    """Print the recommended settings for a model on a card as a `vllm serve` command."""
    name = resolve_model(model)
    # Of a card that is named there may be any number, and no machine has more than eight.
    cards = find_cards() if gpu == "auto" else [card_named(gpu)] * (gpus or 8)
    if not cards:
        raise EngineStartError(
            "There is no GPU on this machine that could be asked; name one, such as --gpu h100."
        )
    count = gpus or recommend_gpu_count(cards)
    given = {"tensor_parallel_size": count} if gpus or count > 1 else {}
    check_memory(name, cards, given)
    preset = choose_preset(name, cards[:count], given, eagle3=eagle3, streams=streams)
    preset = replace(preset, engine_args={**preset.engine_args, **given})
    typer.echo(
        format_config_file(preset) if file else format_serve_command(name, preset), nl=not file
    )
    if gpus is None:
        typer.echo(
            f"These are for {count} x {cards[0].name}, as recommended; --gpus takes another number.",
            err=True,
        )
