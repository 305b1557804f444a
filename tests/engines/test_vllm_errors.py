"""Failures of vLLM's that have a way out: the errors name it."""

from __future__ import annotations

import pytest

from synth_ai.engines.vllm.args import check_cpu_can_run, is_cpu_build
from synth_ai.engines.vllm.errors import start_error
from synth_ai.errors import EngineStartError


def test_a_removed_harmony_package_says_how_to_mend_it() -> None:
    """Removing one of the two Harmony packages removes the other's module, which vLLM imports."""
    error = start_error(
        ModuleNotFoundError("No module named 'openai_harmony'", name="openai_harmony")
    )
    assert "pip install --force-reinstall oss-harmony" in str(error)


@pytest.mark.vllm
@pytest.mark.parametrize("model", ["openai/gpt-oss-20b", "openai/gpt-oss-120b"])
def test_published_models_are_not_for_the_cpu_build(model: str) -> None:
    """They are refused at once, before anything is looked for on the hub."""
    if not is_cpu_build():
        pytest.skip("this vLLM is built for GPUs")
    with pytest.raises(EngineStartError, match="needs a GPU"):
        check_cpu_can_run(model)
