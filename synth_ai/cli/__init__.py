"""The `synth-ai` command: it reads the command line, calls the library and prints."""

from __future__ import annotations

import sys

from synth_ai.errors import SynthAIError


def main() -> None:
    """Run the command; an error of the library is one line, not a traceback."""
    # typer and rich come with the extra alone; the library does without them.
    try:
        from synth_ai.cli.app import app
    except ImportError as error:
        sys.exit(
            f"The synth-ai command needs typer and rich ({error.name} is missing): "
            'pip install ".[cli]" in a clone of synth_ai'
        )

    try:
        app()
    except SynthAIError as error:
        sys.exit(f"Error: {error}")
