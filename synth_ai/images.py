"""Images as people give them (bytes, paths or URLs), made into parts of the Responses API."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TypeAlias, cast

from synth_ai.content import ContentPart, InputImage
from synth_ai.errors import RequestError

Image: TypeAlias = bytes | str | os.PathLike[str]

_URL_SCHEMES = ("http://", "https://", "data:")

#: The first bytes of a file, and the media type that they stand for. The formats are those that
#: OpenAI's models take.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def image_part(image: Image) -> InputImage:
    """Make a content part of an image, for a message or for a tool to return.

    Args:
        image: the bytes of a PNG, JPEG, GIF or WebP image, the path of one, or its URL. Bytes and
            files travel inside the request, encoded in base 64; a server fetches a URL itself.

    Raises:
        RequestError: the image is none of these, the file cannot be read, or its format is unknown.
    """
    if isinstance(image, str) and image.startswith(_URL_SCHEMES):
        return _make_part(image)

    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        media_type = _media_type(data, "The image given as bytes")
    elif isinstance(image, (str, os.PathLike)):
        path = Path(image).expanduser()
        data = _read_file(path, image)
        media_type = _media_type(data, f"The image {str(path)!r}")
    else:
        raise RequestError(
            f"An image must be bytes, a path or a URL, not {type(image).__name__}; of an open file "
            "give .read(), of an image in memory the bytes of a PNG."
        )

    encoded = base64.b64encode(data).decode()
    return _make_part(f"data:{media_type};base64,{encoded}")


def _make_part(url: str) -> InputImage:
    part = ContentPart(type="input_image", image_url=url, detail="auto")
    # A dict at run time, as every part is.
    return cast("InputImage", part)


def _read_file(path: Path, image: str | os.PathLike[str]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise RequestError(f"The image {str(image)!r} cannot be read: {reason}.") from error


def _media_type(data: bytes, name: str) -> str:
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type

    # A WebP file has its length between the two words.
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if is_webp:
        return "image/webp"

    raise RequestError(f"{name} must be a PNG, JPEG, GIF or WebP image; it has another format.")
