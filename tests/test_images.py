"""What is taken for a picture and what is refused."""

from __future__ import annotations

import io
from typing import Any

import pytest

from synth_ai.errors import RequestError
from synth_ai.images import image_part

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
