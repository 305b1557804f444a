"""The commands of `synth-ai`. Their docstrings are what `--help` prints."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from synth_ai._version import __version__
from synth_ai.cli import keys
from synth_ai.cli.serve import serve
from synth_ai.engines.gpus import GPU, find_gpus, look_up_gpu
from synth_ai.engines.model_names import check_gpt_oss, resolve_model
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

if TYPE_CHECKING:
    from synth_ai.tree.turn_tree import ColorBy

# How many GPUs of one kind a machine has at most.
_MAX_GPUS = 8

# Errors of the library are printed by main(), and others shall look as in any Python program.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def print_version(is_wanted: bool) -> None:
    """Print the version and end, before a command is asked for."""
    if is_wanted:
        typer.echo(__version__)
        raise typer.Exit


# The columns of a tree that goes into a file or a pipe, which tell no width.
_PIPE_WIDTH = 160


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """Look at stored conversations, and see how synth_ai would run a model."""


app.command()(serve)
app.add_typer(keys.app, name="keys")


@app.command()
def tree(
    store: Annotated[Path, typer.Argument(help="The file of the store.")],
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
    color_by: Annotated[
        str | None, typer.Option(help="Colour the turns; by their reward is the one way.")
    ] = None,
) -> None:
    """Draw the conversations in a store, which is only read."""
    forms = {"--html": html is not None, "--mermaid": mermaid, "--json": json}
    given = [option for option, is_given in forms.items() if is_given]
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)} contradict each other; give one of them.")

    # Tree.of refuses anything but a way that it knows.
    drawn = Tree.of(read_turns(store), head=response_id, color_by=cast("ColorBy | None", color_by))
    if response_id is not None:
        if response_id not in drawn.turns:
            raise UnknownResponseError(f"The response {response_id!r} is not in {store}.")
        drawn = drawn.around(response_id)

    if html is not None:
        drawn.save_html(html)
        typer.echo(f"Wrote {html}")
    elif mermaid:
        typer.echo(drawn.to_mermaid())
    elif json:
        typer.echo(drawn.to_json())
    else:
        # With rich a tree draws itself in colour, unless it goes into a file or a pipe.
        console = Console()
        cuts_for_nobody = not console.is_terminal and "COLUMNS" not in os.environ
        if cuts_for_nobody:
            console = Console(width=_PIPE_WIDTH)
        console.print(drawn)


@app.command("engine-args")
def engine_args(
    model: Annotated[str, typer.Argument(help="gpt-oss-20b, gpt-oss-120b or a folder.")],
    gpu: Annotated[
        str, typer.Option(help="The GPU, such as h100 or mi300x; auto asks this machine.")
    ] = "auto",
    gpus: Annotated[int | None, typer.Option(min=1, help="How many GPUs share the model.")] = None,
    eagle3: Annotated[bool, typer.Option(help="Decode speculatively (gpt-oss-120b).")] = False,
    streams: Annotated[
        bool, typer.Option(help="Whether anyone reads streams token by token.")
    ] = True,
    file: Annotated[
        bool, typer.Option(help="Print a file for vllm serve --config instead of a command.")
    ] = False,
) -> None:
    """Print the recommended settings for a model on a GPU as a `vllm serve` command."""
    model = resolve_model(model)
    check_gpt_oss(model)
    available = _find_gpus(gpu, gpus)
    count = gpus or recommend_gpu_count(available)

    # vLLM takes one GPU by itself, so the number is left out unless it is more or was asked for.
    chosen_args = {}
    is_shared = gpus is not None or count > 1
    if is_shared:
        chosen_args["tensor_parallel_size"] = count

    check_memory(model, available, chosen_args)
    preset = choose_preset(model, available[:count], chosen_args, eagle3=eagle3, streams=streams)
    preset = replace(preset, engine_args={**preset.engine_args, **chosen_args})

    if file:
        typer.echo(format_config_file(preset), nl=False)
    else:
        typer.echo(format_serve_command(model, preset))

    # On stderr, so that the command or the file can be piped.
    if gpus is None:
        typer.echo(
            f"These are for {count} x {available[0].name}, as recommended; "
            "--gpus takes another number.",
            err=True,
        )


def _find_gpus(name: str, count: int | None) -> list[GPU]:
    """Find the GPUs of this machine, or make a machine full of those that are named.

    Raises:
        EngineStartError: this machine has none.
        OptionError: the name is unknown.
    """
    if name != "auto":
        return [look_up_gpu(name)] * (count or _MAX_GPUS)

    gpus = find_gpus()
    if not gpus:
        raise EngineStartError(
            "No GPU was found on this machine; name one to see its settings, such as --gpu h100."
        )
    return gpus
