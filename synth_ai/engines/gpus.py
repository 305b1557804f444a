"""The GPUs of this machine, found without importing torch or vLLM."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from synth_ai.errors import OptionError, did_you_mean

Architecture = Literal["ampere", "ada", "hopper", "blackwell", "cdna3", "cdna4", "other"]

_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,compute_cap,uuid",
    "--format=csv,noheader,nounits",
)
_NVIDIA: Mapping[str, Architecture] = {
    "8.0": "ampere",
    "8.6": "ampere",
    "8.9": "ada",
    "9.0": "hopper",
    "10.0": "blackwell",
    "10.3": "blackwell",
}
_AMD: Mapping[str, Architecture] = {"90402": "cdna3", "90500": "cdna4"}
_KFD = Path("/sys/class/kfd/kfd/topology/nodes")


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU, or one kind of GPU.

    Attributes:
        memory_gib: all its memory, used or not.
        uuid: what the driver calls this one, such as `GPU-5f3a...`; empty where it is not known.
    """

    name: str
    architecture: Architecture
    memory_gib: float
    uuid: str = ""


# By the names that people use for them.
CARDS: Mapping[str, Card] = {
    "a100": Card("NVIDIA A100", "ampere", 80),
    "h100": Card("NVIDIA H100", "hopper", 80),
    "h200": Card("NVIDIA H200", "hopper", 141),
    "b200": Card("NVIDIA B200", "blackwell", 180),
    "gb200": Card("NVIDIA GB200", "blackwell", 186),
    "b300": Card("NVIDIA B300", "blackwell", 268),
    "mi300x": Card("AMD Instinct MI300X", "cdna3", 192),
    "mi325x": Card("AMD Instinct MI325X", "cdna3", 256),
    "mi350x": Card("AMD Instinct MI350X", "cdna4", 288),
    "mi355x": Card("AMD Instinct MI355X", "cdna4", 288),
}


def card_named(name: str) -> Card:
    """The card that goes by this name.

    Raises:
        OptionError: there is none in the table.
    """
    if name.lower() not in CARDS:
        known = ", ".join(repr(known) for known in CARDS)
        raise OptionError(
            f"gpu={name!r} is not known; it takes 'auto', None or one of {known}.{did_you_mean(name.lower(), CARDS)}"
        )
    return CARDS[name.lower()]


def find_cards() -> list[Card]:
    """The GPUs that a program started from here sees, in the order that it numbers them.

    Empty where there is none, or nothing to ask. `CUDA_VISIBLE_DEVICES` and its likes of AMD are kept to.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = _nvidia_cards()
    if cards:
        return chosen(cards, seen)
    return chosen(
        chosen(amd_cards(_KFD), os.environ.get("ROCR_VISIBLE_DEVICES")),
        os.environ.get("HIP_VISIBLE_DEVICES", seen),
    )


def chosen(cards: Sequence[Card], devices: str | None) -> list[Card]:
    """The cards that a list such as `0,2` or `GPU-5f3a,GPU-77` names, in its order; all of them for None.

    Like the driver it ends at the first that there is not. A part of a card (MIG) is none of these.
    """
    if devices is None:
        return list(cards)
    named: list[Card] = []
    for device in map(str.strip, devices.split(",")):
        if device.isdecimal():
            found = cards[int(device) : int(device) + 1]
        else:
            found = [card for card in cards if device and card.uuid.startswith(device)][:1]
        if not found:
            break
        named += found
    return named


def nvidia_cards(listing: str, *, by_slot: bool = False) -> list[Card]:
    """The cards in the answer of nvidia-smi: name, MiB, compute capability and UUID, one card per line.

    Args:
        by_slot: keep nvidia-smi's order, as CUDA does with `CUDA_DEVICE_ORDER=PCI_BUS_ID`; by default it numbers the
            fastest cards first.
    """
    rows = [[field.strip() for field in line.split(",")] for line in listing.splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[1].isdecimal()]
    if not by_slot:
        rows.sort(key=lambda row: (_version(row[2]), int(row[1])), reverse=True)
    return [
        Card(name, _NVIDIA.get(capability, "other"), float(mib) / 1024, uuid)
        for name, mib, capability, uuid in rows
    ]


def amd_cards(nodes: Path) -> list[Card]:
    """The cards that the ROCm driver lists in its folder of nodes; processors are nodes too, without a version."""
    cards = []
    for node in sorted(nodes.glob("*")):
        version = _properties(node / "properties").get("gfx_target_version", "0")
        if version != "0":
            banks = (_properties(bank) for bank in node.glob("mem_banks/*/properties"))
            size = sum(int(bank.get("size_in_bytes", "0")) for bank in banks)
            cards.append(Card(f"AMD GPU {version}", _AMD.get(version, "other"), size / 2**30))
    return cards


def _nvidia_cards() -> list[Card]:
    try:
        answer = subprocess.run(_QUERY, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return nvidia_cards(answer.stdout, by_slot=os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


def _properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return dict(line.split(maxsplit=1) for line in lines if " " in line)
