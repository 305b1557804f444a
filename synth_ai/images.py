"""Images as people give them (bytes, paths or URLs), made into parts of the Responses API."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import TypeAlias, cast

from synth_ai.content import ContentPart, InputImage
from synth_ai.errors import RequestError

Image: TypeAlias = bytes | str | os.PathLike[str]

#: The largest image that travels inside a request. No known server takes a larger one.
MAX_IMAGE_BYTES = 64 * 1024 * 1024

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
            files travel inside the request, encoded in base 64, and have at most 64 MiB; a server
            fetches a URL itself. What this function returned before stays as it is.

    Raises:
        RequestError: the image is none of these, is too large, its format is unknown, or the file
            cannot be read or is a device, a pipe or a folder.
    """
    if isinstance(image, str) and image.startswith(_URL_SCHEMES):
        return _make_part(image)
    if isinstance(image, ContentPart):
        return cast("InputImage", image)

    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        _check_size(len(data), "The image given as bytes")
        media_type = _media_type(data, "The image given as bytes")
    elif isinstance(image, (str, os.PathLike)):
        data = _read_file(image)
        media_type = _media_type(data, f"The image {os.fspath(image)!r}")
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


def _read_file(image: str | os.PathLike[str]) -> bytes:
    """Read a regular file: a device never ends, and a pipe waits for who may never write."""
    name = f"The image {os.fspath(image)!r:.200}"
    try:
        path = Path(image).expanduser()
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise RequestError(f"{name} must be a regular file, not a device or a pipe.")
            _check_size(status.st_size, name)
            # A file may grow, and some of the system's say that they are empty.
            data = file.read(MAX_IMAGE_BYTES + 1)
    except RequestError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        # Also a name that no file can have, or the home of nobody.
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{name} cannot be read: {reason}.") from error

    _check_size(len(data), name)
    return data


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a pipe would wait for its writer. Windows has neither such pipes nor the flag.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_size(size: int, name: str) -> None:
    if size > MAX_IMAGE_BYTES:
        raise RequestError(
            f"{name} has more than {MAX_IMAGE_BYTES // 1024**2} MiB, the most that is sent inside "
            "a request. Make it smaller, or give the URL of a server that has it."
        )


def _media_type(data: bytes, name: str) -> str:
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type

    # A WebP file has its length between the two words.
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if is_webp:
        return "image/webp"

    raise RequestError(f"{name} must be a PNG, JPEG, GIF or WebP image; it has another format.")
