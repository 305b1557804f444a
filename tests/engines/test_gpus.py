"""GPUs by name and by number; what the drivers tell of them is in `test_presets.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from synth_ai.engines.gpus import GPU, look_up_gpu, read_amd_gpus, select_visible
from synth_ai.engines.model_names import canonical_name
from synth_ai.errors import OptionError


def test_gpus_by_name() -> None:
    """However the name is written."""
    assert look_up_gpu("h100") is look_up_gpu("H100")
    assert look_up_gpu("MI300X").architecture == "cdna3"


@pytest.mark.parametrize("name", ["h10", 5, None])
def test_a_gpu_that_is_not_known(name: Any) -> None:
    """The error lists those that are."""
    with pytest.raises(OptionError, match=rf"gpu={name!r} is not known; .*'h100'.*'mi355x'"):
        look_up_gpu(name)


def test_a_list_that_ends_with_a_comma() -> None:
    """An empty name is not the beginning of every UUID."""
    gpus = [GPU("NVIDIA X", "other", 1, f"GPU-{letter}") for letter in "ab"]
    assert select_visible(gpus, "1,") == [gpus[1]]
    assert select_visible(gpus, ",1") == []


def test_memory_of_an_amd_gpu(tmp_path: Path) -> None:
    """Its banks are added up."""
    node = tmp_path / "1"
    for bank in ("0", "1"):
        (node / "mem_banks" / bank).mkdir(parents=True)
        (node / "mem_banks" / bank / "properties").write_text(f"size_in_bytes {2**30}\n")
    (node / "properties").write_text("simd_count 1216\ngfx_target_version 90500\n")
    (gpu,) = read_amd_gpus(tmp_path)
    assert (gpu.name, gpu.architecture, gpu.memory_gib) == ("AMD GPU 90500", "cdna4", 2)


def test_one_spelling_for_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short and full names are one; a folder is one by whichever way it is named; others stay."""
    assert canonical_name("gpt-oss-20b") == canonical_name("openai/gpt-oss-20b")
    assert canonical_name("any: name") == "any: name"
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert canonical_name("~/model") == canonical_name(tmp_path / "model") == f"{tmp_path}/model"
