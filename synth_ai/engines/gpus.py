"""The GPUs of this machine, found without importing torch or vLLM."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from synth_ai.errors import OptionError, did_you_mean

Architecture: TypeAlias = Literal["ampere", "ada", "hopper", "blackwell", "cdna3", "cdna4", "other"]

_NVIDIA_SMI = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,compute_cap,uuid",
    "--format=csv,noheader,nounits",
)
# A driver that wakes up sleeping GPUs takes some seconds to answer.
_NVIDIA_SMI_SECONDS = 20

# By compute capability: https://developer.nvidia.com/cuda-gpus
_NVIDIA_ARCHITECTURES: Mapping[str, Architecture] = {
    "8.0": "ampere",
    "8.6": "ampere",
    "8.9": "ada",
    "9.0": "hopper",
    "10.0": "blackwell",
    "10.3": "blackwell",
}

# By the version of the instruction set as the driver writes it: gfx942 is 9.4.2, written 90402.
_AMD_ARCHITECTURES: Mapping[str, Architecture] = {"90402": "cdna3", "90500": "cdna4"}

# Where the ROCm driver (KFD) describes the processors and GPUs of the machine, one folder each.
_KFD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")


@dataclass(frozen=True, slots=True)
class GPU:
    """One GPU, or one kind of GPU.

    Attributes:
        memory_gib: all its memory, used or not.
        uuid: what the driver calls it, such as `GPU-5f3a...`; empty if that is not known.
    """

    name: str
    architecture: Architecture
    memory_gib: float
    uuid: str = ""


#: The GPUs that a user can name, by the names that people use for them.
KNOWN_GPUS: Mapping[str, GPU] = {
    "a100": GPU("NVIDIA A100", "ampere", 80),
    "h100": GPU("NVIDIA H100", "hopper", 80),
    "h200": GPU("NVIDIA H200", "hopper", 141),
    "b200": GPU("NVIDIA B200", "blackwell", 180),
    "gb200": GPU("NVIDIA GB200", "blackwell", 186),
    "b300": GPU("NVIDIA B300", "blackwell", 268),
    "mi300x": GPU("AMD Instinct MI300X", "cdna3", 192),
    "mi325x": GPU("AMD Instinct MI325X", "cdna3", 256),
    "mi350x": GPU("AMD Instinct MI350X", "cdna4", 288),
    "mi355x": GPU("AMD Instinct MI355X", "cdna4", 288),
}


def look_up_gpu(name: str) -> GPU:
    """Return the GPU that goes by this name.

    Raises:
        OptionError: there is none in the table.
    """
    key = str(name).lower()
    if key not in KNOWN_GPUS:
        known = ", ".join(repr(known) for known in KNOWN_GPUS)
        raise OptionError(
            f"gpu={name!r} is not known; it takes 'auto', None or one of {known}."
            f"{did_you_mean(key, KNOWN_GPUS)}"
        )
    return KNOWN_GPUS[key]


def find_gpus() -> list[GPU]:
    """Find the GPUs that a program started from here sees, in the order that it numbers them.

    `CUDA_VISIBLE_DEVICES` and its counterparts of AMD are respected.

    Returns:
        The GPUs; none if there are none, or no driver that could be asked.
    """
    cuda_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    nvidia_gpus = _ask_nvidia_smi()
    if nvidia_gpus:
        return select_visible(nvidia_gpus, cuda_devices)

    # AMD has two variables: HIP numbers the GPUs that are left by ROCR, and reads CUDA's variable
    # if its own is not set. https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html
    amd_gpus = select_visible(read_amd_gpus(_KFD_NODES), os.environ.get("ROCR_VISIBLE_DEVICES"))
    return select_visible(amd_gpus, os.environ.get("HIP_VISIBLE_DEVICES", cuda_devices))


def select_visible(gpus: Sequence[GPU], devices: str | None) -> list[GPU]:
    """Select the GPUs that a variable such as `CUDA_VISIBLE_DEVICES` names, in its order.

    Like the driver, it ends at the first device that does not exist. A part of a GPU (MIG) is not
    known here, so the list ends there too.

    Args:
        gpus: all GPUs, in the order of their numbers.
        devices: numbers and beginnings of UUIDs, such as `0,2` or `GPU-5f3a,GPU-77`; None for all.
    """
    if devices is None:
        return list(gpus)

    selected: list[GPU] = []
    for device in devices.split(","):
        gpu = _find_device(gpus, device.strip())
        if gpu is None:
            break
        selected.append(gpu)
    return selected


def _find_device(gpus: Sequence[GPU], device: str) -> GPU | None:
    """Find the GPU with this number, or with a UUID that begins like this."""
    if device.isdecimal():
        index = int(device)
        return gpus[index] if index < len(gpus) else None

    # The empty name would be the beginning of every UUID.
    if not device:
        return None

    for gpu in gpus:
        if gpu.uuid.startswith(device):
            return gpu
    return None


def parse_nvidia_smi(listing: str, *, by_slot: bool = False) -> list[GPU]:
    """Parse the answer of nvidia-smi: one GPU a line, as name, MiB, compute capability and UUID.

    Args:
        by_slot: keep nvidia-smi's order, as CUDA does with `CUDA_DEVICE_ORDER=PCI_BUS_ID`; by
            default CUDA numbers the fastest GPUs first.
    """
    rows = []
    for line in listing.splitlines():
        row = [column.strip() for column in line.split(",")]
        # Other lines are warnings, or GPUs whose memory the driver cannot tell: [N/A].
        if len(row) == 4 and row[1].isdecimal():
            rows.append(row)

    if not by_slot:
        # How fast a GPU is can only be guessed: by its capability, then by its memory.
        rows.sort(key=lambda row: (_parse_version(row[2]), int(row[1])), reverse=True)

    gpus = []
    for name, mib, capability, uuid in rows:
        architecture = _NVIDIA_ARCHITECTURES.get(capability, "other")
        gpus.append(GPU(name, architecture, float(mib) / 1024, uuid))
    return gpus


def read_amd_gpus(nodes: Path) -> list[GPU]:
    """Read the GPUs that the ROCm driver describes.

    Args:
        nodes: the driver's folder of nodes, with a folder for each processor and each GPU.
    """
    gpus = []
    for node in sorted(nodes.glob("*")):
        version = _read_properties(node / "properties").get("gfx_target_version", "0")
        # Processors are nodes too, without a version of GPU instructions.
        if version == "0":
            continue

        memory_bytes = 0
        for bank in node.glob("mem_banks/*/properties"):
            memory_bytes += int(_read_properties(bank).get("size_in_bytes", "0"))

        architecture = _AMD_ARCHITECTURES.get(version, "other")
        gpus.append(GPU(f"AMD GPU {version}", architecture, memory_bytes / 2**30))
    return gpus


def _ask_nvidia_smi() -> list[GPU]:
    """Ask NVIDIA's driver for its GPUs; there are none if it cannot be asked."""
    try:
        answer = subprocess.run(
            _NVIDIA_SMI, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []

    by_slot = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return parse_nvidia_smi(answer.stdout, by_slot=by_slot)


def _parse_version(text: str) -> tuple[int, ...]:
    """Parse a version so that versions can be compared: `10.0` -> `(10, 0)`, `[N/A]` -> `()`."""
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


def _read_properties(path: Path) -> dict[str, str]:
    """Read a file of lines such as `gfx_target_version 90402`; empty if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}

    return dict(line.split(maxsplit=1) for line in lines if " " in line)
