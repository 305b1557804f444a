"""What is taken for a picture and what is refused."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from synth_ai import LM
from synth_ai.errors import RequestError
from synth_ai.images import MAX_IMAGE_BYTES, image_part
from synth_ai.testing import ScriptedVendor

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("picture", [PNG, bytearray(PNG), memoryview(PNG)])
def test_bytes_of_every_kind(picture: Any) -> None:
    """They are the same picture."""
    assert image_part(picture) == image_part(PNG)


@pytest.mark.parametrize("picture", [io.BytesIO(PNG), {"url": "a.png"}, None, 5])
def test_what_is_no_picture_is_said(picture: Any) -> None:
    """By its type, with what to give instead."""
    with pytest.raises(
        RequestError, match=rf"not {type(picture).__name__}; of an open file give \.read\(\)"
    ):
        image_part(picture)


def make_pipe(directory: Path) -> str:
    os.mkfifo(directory / "pipe")
    return str(directory / "pipe")


def make_large(directory: Path) -> str:
    with open(directory / "large.png", "wb") as file:
        file.write(PNG)
        file.truncate(MAX_IMAGE_BYTES + 1)
    return str(directory / "large.png")


NO_IMAGES: list[tuple[Any, str]] = [
    (make_pipe, "regular file"),
    (lambda _: "/dev/zero", "regular file"),
    (str, "cannot be read|regular file"),
    (make_large, "more than 64 MiB"),
    (lambda _: "a\0b.png", "cannot be read"),
    (lambda _: "\ud800.png", "cannot be read"),
    (lambda _: "~nobody-of-this-name/a.png", "cannot be read"),
    (lambda _: b"", "another format"),
    (lambda _: bytes(MAX_IMAGE_BYTES + 1), "more than 64 MiB"),
]


@pytest.mark.parametrize(("make", "message"), NO_IMAGES)
async def test_only_regular_files_of_a_bounded_size_are_read(
    make: Any, message: str, tmp_path: Path
) -> None:
    """A device never ends, and a pipe waits for who may never write: both would stop every call."""
    lm = LM("m", vendor=ScriptedVendor(["ok"]))
    with pytest.raises(RequestError, match=message):
        await lm.respond_async("What is this?", images=[make(tmp_path)])
    # A generator is read no differently.
    with pytest.raises(RequestError):
        await lm.respond_async("What is this?", images=(each for each in [5]))


def test_a_part_stays_as_it_is() -> None:
    """What a tool made may go on as an image of the next call."""
    part = image_part("https://example.com/a.png")
    assert image_part(part) is part  # type: ignore[arg-type]
