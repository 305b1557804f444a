"""The front door's manners: where names come from, and what a hosted model does not load."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import synth_ai


@pytest.mark.parametrize(("name", "home"), synth_ai._HOMES.items())
def test_a_name_is_the_one_of_its_room(name: str, home: str) -> None:
    """A class that exists twice would fail `isinstance` across the two imports."""
    assert getattr(synth_ai, name) is getattr(import_module(home), name)
    assert name in dir(synth_ai)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """`hasattr` and `from synth_ai import x` must work as everywhere."""
    assert not hasattr(synth_ai, "no_such_thing")
    with pytest.raises(AttributeError, match="module 'synth_ai' has no attribute 'no_such_thing'"):
        _ = synth_ai.no_such_thing


def test_what_vendors_are_written_against_is_in_their_room_too() -> None:
    """`synth_ai.lm.vendors.base` is a public address of these two."""
    from synth_ai.lm.vendors import base

    assert base.VendorBase is synth_ai.VendorBase
    assert base.BaseLMResponse is synth_ai.BaseLMResponse


def test_a_hosted_lm_loads_neither_harmony_nor_the_sdk() -> None:
    """The vocabulary costs megabytes, the SDK a second; an LM that has not called needs neither."""
    script = (
        "import sys, synth_ai\n"
        "lm = synth_ai.LM('gpt-4o', api_key='k')\n"
        "print(*sorted({'openai', 'synth_ai.harmony', 'tiktoken', 'vllm', 'torch', 'tenacity'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
