"""The generated table of parameter names agrees with the installed openai SDK."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import openai
import pytest

from synth_ai.lm import parameters

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "generate_parameters.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The script that writes the table, as a module."""
    spec = importlib.util.spec_from_file_location("generate_parameters", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def version(text: str) -> tuple[int, ...]:
    """A release number as numbers: `"3.52.0"` is `(3, 52, 0)`."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def test_the_table_is_what_the_generator_writes(generator: ModuleType) -> None:
    """A raised SDK must not leave a stale table: its new parameters would be refused as unknown options."""
    if openai.__version__ not in (parameters.__doc__ or ""):
        pytest.skip(
            f"the table is of another version than the installed openai {openai.__version__}"
        )
    assert Path(parameters.__file__).read_text() == generator.source()


def test_an_older_sdk_takes_no_parameter_that_the_table_lacks(generator: ModuleType) -> None:
    """Every supported SDK's parameters are known, so no valid option is refused."""
    generated_from = (parameters.__doc__ or "").splitlines()[0].removesuffix(".").rsplit(" ", 1)[-1]
    if version(openai.__version__) > version(generated_from):
        pytest.skip(
            f"openai {openai.__version__} is newer than the table; run scripts/generate_parameters.py"
        )
    assert set(generator.names(generator.CHAT)) <= parameters.CHAT
    assert set(generator.names(generator.RESPONSES)) <= parameters.RESPONSES
