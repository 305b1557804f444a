"""URLs of stores: what scheme one has, and how it is shown without its secrets."""

from __future__ import annotations

import re

# The scheme of a URL (RFC 3986), of two letters or more, as a single one is a drive of Windows:
#   redis://localhost/0      -> redis
#   S3+cached://bucket       -> S3+cached
#   C://turns.db, turns.db   -> no match: these are paths
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

# What may hold a secret in a URL: all in front of the last @, and all behind the first ? or #
#   redis://ada:hush@db/0?token=hush   -> redis://***@db/0?***
#   s3://bucket#key=hush               -> s3://bucket#***
_CREDENTIALS = re.compile(r"(?<=://).*@", re.DOTALL)
_QUERY = re.compile(r"(?<=[?#]).+", re.DOTALL)


def find_scheme(text: str) -> str | None:
    """Return the scheme of a URL as it is written; None if the text is a path."""
    url = _SCHEME.match(text)
    return None if url is None else url[1]


def is_scheme(text: str) -> bool:
    """Whether a text can be the scheme of a URL."""
    return _SCHEME.fullmatch(f"{text}://") is not None


def mask_secrets(text: str) -> str:
    """Hide whatever may be a password or a key in a URL."""
    without_credentials = _CREDENTIALS.sub("***@", text)
    return _QUERY.sub("***", without_credentials)
