"""`synth-ai serve`: run a backend."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from synth_ai.errors import MissingExtraError, OptionError
from synth_ai.settings import Settings

# Seconds that streams get to end when the server is told to stop.
_DRAIN_SECONDS = 30


def serve(
    upstream: Annotated[
        str | None,
        typer.Option(
            help="The address of the server behind this one, such as http://localhost:8000/v1; "
            "by default that of LEARNING_V2_MODAL_URL."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A model to run in this process instead, such as gpt-oss-20b."),
    ] = None,
    engine_args: Annotated[
        str | None, typer.Option(help="Arguments of its engine, as a JSON object.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The address at which the model is, if not in this process.")
    ] = None,
    api: Annotated[str, typer.Option(help="The API to call the model on.")] = "auto",
    store: Annotated[
        str | None,
        typer.Option(help="Where responses are kept: a file, or postgresql://... (memory)."),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="The file of keys that `synth-ai keys add` writes.")
    ] = None,
    upstream_key_env: Annotated[
        str | None,
        typer.Option(help="The variable with the key for the server behind this one."),
    ] = None,
    usage: Annotated[
        Path | None, typer.Option(help="A file to which a record of each response is appended.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8080,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Requests a minute and key.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Tokens a minute and key.")
    ] = None,
    streams: Annotated[int | None, typer.Option(min=1, help="Streams at once and key.")] = None,
) -> None:
    """Serve OpenAI's Responses and Chat Completions, in front of a server or of a model."""
    try:
        import uvicorn

        from synth_ai.backend import BackendConfig, KeyFile, Limits, make_app
        from synth_ai.backend.usage import UsageFile
    except ImportError as error:
        raise MissingExtraError(
            f"synth-ai serve needs the extra backend ({error.name} is missing): "
            'pip install ".[backend]" in a clone of synth_ai.'
        ) from error

    _check_host(host, keys)
    if upstream is None and model is None:
        upstream = Settings.from_environment().learning_v2_modal_url
    if (upstream is None) == (model is None):
        raise OptionError("Give one of --upstream URL (or LEARNING_V2_MODAL_URL) and --model NAME.")

    limits = Limits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        streams=streams,
    )
    more: dict[str, Any] = {}
    if model is None:
        more = {"upstream": upstream, "store": store, "upstream_key": _read_key(upstream_key_env)}
    else:
        more = {"lm": _make_lm(model, engine_args, base_url, api, store)}

    options = BackendConfig(
        keys=None if keys is None else KeyFile(keys),
        limits=limits,
        on_usage=None if usage is None else UsageFile(usage),
        **more,
    )
    if isinstance(options.keys, KeyFile):
        options.keys.list()  # a file that cannot be read is told now

    _log_requests()
    what = upstream if model is None else model
    typer.echo(f"Serving {what} at http://{host}:{port}{options.prefix}", err=True)
    uvicorn.run(
        make_app(options),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


def _make_lm(
    model: str, engine_args: str | None, base_url: str | None, api: str, store: str | None
) -> Any:
    from synth_ai.lm.lm import LM

    engine = None if engine_args is None else _read_object(engine_args)
    return LM(model, engine=engine, base_url=base_url, api=api, response_store=store)


def _read_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise OptionError(f"--engine-args must be a JSON object: {error}.") from error
    if not isinstance(data, dict):
        raise OptionError(f"--engine-args must be a JSON object, not {text!r:.80}.")
    return data


def _read_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise OptionError(f"--upstream-key-env: the variable {variable!r} is not set.")
    return key


def _check_host(host: str, keys: Path | None) -> None:
    """Refuse to let other machines in where nobody needs a key.

    Raises:
        OptionError: the address is not this machine's own, and there are no keys.
    """
    if keys is not None or _is_loopback(host):
        return
    raise OptionError(
        f"--host {host} lets other machines in, so callers need keys: make some with "
        "`synth-ai keys add NAME --file FILE`, and give --keys FILE."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log_requests() -> None:
    """Print a line of JSON for each request."""
    logger = logging.getLogger("synth_ai.backend")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.setLevel(logging.INFO)
    logger.propagate = False
