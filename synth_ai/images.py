"""Pictures as people give them (bytes, paths or URLs), turned into content parts of the Responses API."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TypeAlias

from synth_ai.content import InputImage
from synth_ai.errors import RequestError

Image: TypeAlias = bytes | str | os.PathLike[str]


def image_part(image: Image) -> InputImage:
    """A picture as a content part; bytes and files travel inside the request.

    Raises:
        RequestError: it is none of these, there is no such file, or its content is no picture we know.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://", "data:")):
        return {"type": "input_image", "image_url": image, "detail": "auto"}
    if isinstance(image, (bytes, bytearray, memoryview)):
        data, name = bytes(image), "the bytes given"
    elif not isinstance(image, (str, os.PathLike)):
        raise RequestError(
            f"An image is bytes, a path or an address, not {type(image).__name__}; of an open file give .read(), of a "
            "picture in memory the bytes of a PNG."
        )
    else:
        path = Path(image).expanduser()
        try:
            data, name = path.read_bytes(), str(path)
        except OSError as error:
            raise RequestError(
                f"The image {str(image)!r} cannot be read: {error.strerror or error}."
            ) from error
    url = f"data:{_media_type(data, name)};base64,{base64.b64encode(data).decode()}"
    return {"type": "input_image", "image_url": url, "detail": "auto"}


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def _media_type(data: bytes, name: str) -> str:
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise RequestError(f"{name} is no PNG, JPEG, GIF or WebP picture.")
