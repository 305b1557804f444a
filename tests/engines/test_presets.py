"""Presets: every setting exists in the installed vLLM, the same in arguments, command and file."""

from __future__ import annotations

import dataclasses
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from synth_ai import VLLMEngine
from synth_ai.engines import gpus as cards_module
from synth_ai.engines.gpus import (
    GPU,
    KNOWN_GPUS,
    find_gpus,
    look_up_gpu,
    parse_nvidia_smi,
    read_amd_gpus,
    select_visible,
)
from synth_ai.engines.vllm.presets import (
    Preset,
    check_memory,
    choose_preset,
    format_config_file,
    format_serve_command,
    recommend_gpu_count,
)
from synth_ai.errors import EngineStartError, OptionError

SMALL, LARGE = "openai/gpt-oss-20b", "openai/gpt-oss-120b"


def preset(name: str, model: str = LARGE, count: int = 1, **options: Any) -> Preset:
    """The preset for so many of a card, sharing the model."""
    return choose_preset(
        model, [look_up_gpu(name)] * count, {"tensor_parallel_size": count}, **options
    )


ALL = [
    preset(name, model, count, eagle3=model == LARGE, streams=False)
    for name in KNOWN_GPUS
    for model in (SMALL, LARGE)
    for count in (1, 2, 8)
]


@pytest.fixture(scope="module")
def parser() -> Any:
    """The parser of vLLM's server; its module has moved between versions."""
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    for home in ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args"):
        if find_spec(home):
            return import_module(home).make_arg_parser(FlexibleArgumentParser())
    raise LookupError("vLLM's server has its parser nowhere that is known")


@pytest.mark.vllm
@pytest.mark.parametrize("preset_", ALL)
def test_every_setting_exists(preset_: Preset) -> None:
    """Arguments, nested ones too, and environment variables are those of the installed vLLM."""
    import vllm.envs
    from vllm import AsyncEngineArgs
    from vllm.config import CompilationConfig, SpeculativeConfig
    from vllm.config.compilation import PassConfig

    def names(kind: Any) -> set[str]:
        return {field.name for field in dataclasses.fields(kind)}

    compilation = preset_.engine_args.get("compilation_config", {})
    assert set(preset_.engine_args) <= names(AsyncEngineArgs)
    assert set(compilation) <= names(CompilationConfig)
    assert set(compilation.get("pass_config", {})) <= names(PassConfig)
    assert set(preset_.engine_args.get("speculative_config", {})) <= names(SpeculativeConfig)
    assert set(preset_.environment) <= set(vllm.envs.environment_variables)


@pytest.mark.vllm
def test_environment_names_are_vllms_own() -> None:
    """The names read from vLLM's source are those that it has."""
    import vllm.envs

    from synth_ai.engines.vllm.args import read_environment_names

    assert read_environment_names() == {
        name for name in vllm.envs.environment_variables if name.startswith("VLLM_")
    }


@pytest.mark.vllm
@pytest.mark.parametrize("preset_", ALL)
def test_command_and_file_say_the_same(preset_: Preset, parser: Any, tmp_path: Path) -> None:
    """vLLM's own parser reads the command and the file back as the arguments."""
    words = shlex.split(format_serve_command(LARGE, preset_).replace("\\\n", " "))
    start = words.index("vllm")
    assert words[start : start + 3] == ["vllm", "serve", LARGE]
    assert words[:start] == [f"{name}={value}" for name, value in preset_.environment.items()]
    file = tmp_path / "settings.yaml"
    file.write_text(format_config_file(preset_))

    for arguments in (
        ["--model", LARGE, *words[start + 3 :]],
        ["--model", LARGE, "--config", str(file)],
    ):
        parsed = parser.parse_args(arguments)
        for name, value in {"prefix_cache_retention_interval": None, **preset_.engine_args}.items():
            assert _plain(getattr(parsed, name), value) == value, name


@pytest.mark.vllm
def test_an_argument_that_is_off(parser: Any, tmp_path: Path) -> None:
    """False is `--no-FLAG` in a command; vLLM reads that, and what the file says, as False."""
    preset_ = Preset({"async_scheduling": False, "enable_prefix_caching": False})
    words = shlex.split(format_serve_command(LARGE, preset_).replace("\\\n", " "))
    assert {"--no-async-scheduling", "--no-enable-prefix-caching"} <= set(words)
    file = tmp_path / "settings.yaml"
    file.write_text(format_config_file(preset_))
    for arguments in (words[3:], ["--config", str(file)]):
        parsed = parser.parse_args(["--model", LARGE, *arguments])
        assert (parsed.async_scheduling, parsed.enable_prefix_caching) == (False, False)


def _plain(parsed: Any, like: Any) -> Any:
    """What the parser made of a value, its configuration objects as the dicts they came from."""
    if not isinstance(like, dict):
        return parsed
    read = parsed.get if isinstance(parsed, dict) else lambda name: getattr(parsed, name)
    return {
        name: _plain(getattr(read(name), "name", read(name)), value) for name, value in like.items()
    }


def test_hopper() -> None:
    """One 80 GB GPU with the large model takes a small batch and more memory; two do not."""
    assert preset("h100").engine_args == {
        "async_scheduling": True,
        "max_cudagraph_capture_size": 2048,
        "max_num_batched_tokens": 1024,
        "gpu_memory_utilization": 0.95,
    }
    assert preset("h100", count=2).engine_args["gpu_memory_utilization"] < 0.95
    for other in (preset("h100", SMALL), preset("h200")):
        assert other.engine_args["max_num_batched_tokens"] == 8192
        assert "gpu_memory_utilization" not in other.engine_args


def test_blackwell_ampere_and_amd() -> None:
    """The other families get what the recipes say of them."""
    assert preset("b200").engine_args == preset("h200").engine_args | {
        "kv_cache_dtype": "fp8",
        "compilation_config": {
            "pass_config": {"fuse_allreduce_rms": True, "eliminate_noops": True}
        },
    }
    assert preset("a100").engine_args == {"async_scheduling": True}
    amd = preset("mi300x", count=8)
    assert amd.engine_args["tensor_parallel_size"] == 8
    assert amd.engine_args["block_size"] == 64
    assert amd.environment["VLLM_ROCM_USE_AITER"] == "1"
    assert preset("mi355x").engine_args["async_scheduling"] is True


def test_streams_and_eagle() -> None:
    """Tokens come in groups only if nobody streams; only the large model has a draft model."""
    assert "stream_interval" not in preset("h200").engine_args
    assert choose_preset(SMALL, [], {}, streams=False).engine_args == {"stream_interval": 20}
    assert preset("h200", streams=False).engine_args["stream_interval"] == 20
    assert preset("h200", eagle3=True).engine_args["speculative_config"]["method"] == "eagle3"
    with pytest.raises(OptionError, match="gpt-oss-20b"):
        preset("h200", SMALL, eagle3=True)


def test_no_card_recommends_nothing() -> None:
    """Without a GPU vLLM's own defaults stay."""
    assert choose_preset(LARGE, [], {}) == Preset()


def test_memory() -> None:
    """A model that cannot fit is refused with the figures; shared among enough cards it is not."""
    small = GPU("NVIDIA L4", "ada", 22.5)
    check_memory(SMALL, [small], {})
    check_memory("some/other-model", [small], {})
    with pytest.raises(
        EngineStartError, match=r"about 60 GB.*1 x NVIDIA L4 has 22 GB.*gpt-oss-20b"
    ):
        check_memory(LARGE, [small], {})
    check_memory(LARGE, [small] * 4, {"tensor_parallel_size": 4})
    check_memory(LARGE, [small] * 4, {"data_parallel_size": 4, "enable_expert_parallel": True})
    check_memory(LARGE, [small], {"cpu_offload_gb": 50})


@pytest.mark.parametrize("mib", [16_376, 15_360, 16_384])
def test_a_card_of_about_16_gb(mib: int) -> None:
    """What is sold as 16 GB has a little less and runs the small model; 12 GB are too few."""
    check_memory(SMALL, [GPU("NVIDIA RTX 4080", "ada", mib / 1024)], {})
    with pytest.raises(EngineStartError, match="about 16 GB"):
        check_memory(SMALL, [GPU("NVIDIA RTX 4070", "ada", 12)], {})


def test_memory_of_the_cards_that_vllm_takes() -> None:
    """A small card that vLLM leaves alone is no reason to refuse; one that it would take is."""
    h100, display = look_up_gpu("h100"), GPU("NVIDIA T400", "other", 4)
    check_memory(LARGE, [h100, display], {})
    with pytest.raises(EngineStartError, match=r"2 x NVIDIA T400 has 8 GB"):
        check_memory(LARGE, [h100, display], {"tensor_parallel_size": 2})


def test_memory_of_a_folder(tmp_path: Path) -> None:
    """A fine-tune is measured by its weights; a folder without any is left to vLLM."""
    card = GPU("NVIDIA L4", "ada", 22.5)
    check_memory(str(tmp_path), [card], {})
    for number in range(3):
        with (tmp_path / f"model-{number}.safetensors").open("wb") as file:
            file.truncate(10 * 2**30)
    with pytest.raises(
        EngineStartError, match=r"has 30\.0 GB of weights, and 1 x NVIDIA L4 has 22 GB"
    ):
        check_memory(str(tmp_path), [card], {})
    check_memory(str(tmp_path), [card] * 2, {"tensor_parallel_size": 2})


@pytest.mark.vllm
@pytest.mark.parametrize("name", ["tensor_parallel_size", "pipeline_parallel_size"])
@pytest.mark.parametrize("value", ["two", 0, 1.5, True, None])
def test_a_number_of_cards_that_is_none(name: str, value: Any) -> None:
    """Told when the engine is made, with the value."""
    with pytest.raises(
        OptionError, match=rf"{name} must be a whole number of GPUs, 1 or more, not {value!r}"
    ):
        VLLMEngine("gpt-oss-20b", **{name: value})


def test_recommended_count() -> None:
    """AMD's cards share the model eight at a time, where there are so many."""
    assert recommend_gpu_count([look_up_gpu("mi300x")] * 8) == 8
    assert recommend_gpu_count([look_up_gpu("mi300x")] * 4) == 1
    assert recommend_gpu_count([look_up_gpu("h100")] * 8) == 1


@pytest.mark.vllm
def test_unknown_card() -> None:
    """A misspelt card is refused when the engine is made, with the nearest name."""
    with pytest.raises(OptionError, match="Did you mean 'h100'"):
        VLLMEngine("gpt-oss-20b", gpu="h10")


LISTING = """\
NVIDIA T400, 4096, 7.5, GPU-aa
NVIDIA H100 80GB HBM3, 81559, 9.0, GPU-bb
NVIDIA Orin, [N/A], 8.7, GPU-cc
NVIDIA B200, 183359, 10.0, GPU-dd
NVIDIA X, 1024, 99.0, GPU-ee
"""


def test_nvidia_listing() -> None:
    """What nvidia-smi lists becomes GPUs, the fastest first as in CUDA; without a driver, none."""
    cards = parse_nvidia_smi(LISTING)
    assert [card.uuid for card in cards] == ["GPU-ee", "GPU-dd", "GPU-bb", "GPU-aa"]
    assert [card.architecture for card in cards] == ["other", "blackwell", "hopper", "other"]
    assert round(cards[2].memory_gib) == 80
    assert [card.uuid for card in parse_nvidia_smi(LISTING, by_slot=True)] == [
        "GPU-aa",
        "GPU-bb",
        "GPU-dd",
        "GPU-ee",
    ]
    assert (
        parse_nvidia_smi(
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
        )
        == []
    )


@pytest.mark.parametrize(
    ("devices", "named"),
    [
        (None, "abcd"),
        ("2", "c"),
        ("3, 0", "da"),
        ("GPU-b,GPU-a", "ba"),
        ("0,9,1", "a"),
        ("-1", ""),
        ("", ""),
        ("MIG-1234", ""),
    ],
)
def test_chosen_cards(devices: str | None, named: str) -> None:
    """By number or by UUID, in the order of the list, which ends at the first that there is not."""
    cards = [GPU("NVIDIA X", "other", 1, f"GPU-{letter}") for letter in "abcd"]
    assert "".join(card.uuid[-1] for card in select_visible(cards, devices)) == named


def test_cards_that_the_program_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES picks, in the order that CUDA_DEVICE_ORDER says."""

    class Answer:
        stdout = LISTING

    monkeypatch.setattr(cards_module.subprocess, "run", lambda *_, **__: Answer())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    assert [card.uuid for card in find_gpus()] == ["GPU-dd"]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert [card.uuid for card in find_gpus()] == ["GPU-bb"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert len(find_gpus()) == 4


def engine_args_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """What `synth-ai engine-args` prints, and what it says beside it."""
    pytest.importorskip("typer")
    from synth_ai.cli.app import app

    app(["engine-args", *arguments], standalone_mode=False)
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_engine_args_of_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    """The command takes the recommended number of GPUs and says so, unless a number is given."""
    out, err = engine_args_of(capsys, "gpt-oss-120b", "--gpu", "mi300x")
    assert "--tensor-parallel-size 8" in out
    assert "8 x AMD Instinct MI300X, as recommended; --gpus" in err
    out, err = engine_args_of(capsys, "gpt-oss-120b", "--gpu", "mi300x", "--gpus", "4")
    assert "--tensor-parallel-size 4" in out
    assert err == ""
    out, err = engine_args_of(capsys, "gpt-oss-120b", "--gpu", "h100")
    assert "tensor-parallel-size" not in out
    assert "1 x NVIDIA H100" in err


def test_a_server_keeps_the_branches_in_its_cache(capsys: pytest.CaptureFixture[str]) -> None:
    """vLLM's default forgets most of a branch, so the command and the file set another value."""
    assert (
        "--prefix-cache-retention-interval None"
        in engine_args_of(capsys, "gpt-oss-20b", "--gpu", "h100")[0]
    )
    file, _ = engine_args_of(capsys, "gpt-oss-20b", "--gpu", "h100", "--file")
    assert "prefix-cache-retention-interval: null\n" in file


def test_amd_nodes(tmp_path: Path) -> None:
    """The nodes of the ROCm driver become cards; processors among them do not."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "properties").write_text("cpu_cores_count 64\ngfx_target_version 0\n")
    bank = tmp_path / "1" / "mem_banks" / "0"
    bank.mkdir(parents=True)
    (tmp_path / "1" / "properties").write_text("gfx_target_version 90402\n")
    (bank / "properties").write_text(f"size_in_bytes {192 * 2**30}\n")
    (card,) = read_amd_gpus(tmp_path)
    assert (card.architecture, card.memory_gib) == ("cdna3", 192)
    assert read_amd_gpus(tmp_path / "nowhere") == []
