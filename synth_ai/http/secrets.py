"""Texts that must not be shown: the keys that calls carry, where errors and logs repeat them.

Answers are never rewritten. What looks like a key in one may be a sum, an order or an address that
the model means, and a tool that is run with `***` for an argument does harm.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from weakref import WeakSet

_MASK = "***"

# Characters. Local servers take any word for a key, such as `anything` or `not-needed`, which would
# be masked in every sentence of an answer. So what is shorter than the first is no secret, and
# without a digit in it what is not longer than the second.
_MIN_LENGTH = 8
_MAX_WORD_LENGTH = 15

# The words of the names of headers whose values are secret, and what such words end in.
_SECRET_WORDS = frozenset({"auth", "authorization", "authentication"})
_SECRET_ENDINGS = ("key", "token", "secret", "cookie", "password", "credential", "credentials")

# A header that ends in one of these words says who calls, or which call it is. It is no key,
# although the names of a login proxy's headers begin with `X-Auth-Request-`.
_PUBLIC_WORDS = frozenset({"email", "mail", "address", "user", "username", "name", "id"})
_PUBLIC_WORDS |= frozenset({"groups", "roles", "host", "ip", "url", "uri"})

# A key that tells a call from its repetitions. Services send it back as the id of the request.
_PUBLIC_WORD = "idempotency"

# What stands between the words of a header's name:
#   X-Api-Key      -> X, Api, Key
#   ocp.apim_token -> ocp, apim, token
_WORD_BREAK = re.compile(r"[-_.]")


class Secrets:
    """Texts to mask in errors and logs. While an object of this lives, logs are masked too.

    Args:
        texts: what may be secret; what is too short, or a word, is left out.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        secret_texts = {text for text in texts if _can_be_secret(text)}
        # The longest first, as one may be part of another.
        self._texts = tuple(sorted(secret_texts, key=len, reverse=True))
        with _lock:
            _living.add(self)

    def with_headers(self, headers: Mapping[str, str] | None) -> Secrets:
        """Add the secrets in headers, which are recognized by the headers' names."""
        in_headers: list[str] = []
        for name, value in (headers or {}).items():
            if _is_secret(name):
                in_headers += _split_credentials(value)

        if not in_headers:
            return self

        return Secrets((*self._texts, *in_headers))

    def mask_text(self, text: str) -> str:
        """Replace the secrets in a text."""
        for secret in self._texts:
            text = text.replace(secret, _MASK)

        return text

    def mask_bytes(self, content: bytes) -> bytes:
        """Replace the secrets in bytes, which need not be UTF-8 as a whole."""
        for secret in self._texts:
            content = content.replace(secret.encode(), _MASK.encode())

        return content

    def mask(self, value: object) -> object:
        """Replace the secrets in plain data, at any depth; any other object is returned as it is.

        With the key `sk-0123456789`: `{"sk-0123456789": ["key sk-0123456789", 1]}` ->
        `{"***": ["key ***", 1]}`
        """
        if isinstance(value, str):
            return self.mask_text(value)
        if isinstance(value, bytes):
            return self.mask_bytes(value)
        if isinstance(value, Mapping):
            return {self.mask(name): self.mask(inner) for name, inner in value.items()}

        # The exact types: a named tuple, which a library's error may hold, is not made from a list.
        if type(value) is list:
            return [self.mask(inner) for inner in value]
        if type(value) is tuple:
            return tuple(self.mask(inner) for inner in value)

        return value

    def mask_error(self, error: BaseException) -> None:
        """Replace the secrets in an error and in all that led to it: messages and attributes."""
        for link in _iterate_chain(error):
            link.args = tuple(self.mask(argument) for argument in link.args)
            for name, value in vars(link).items():
                if isinstance(value, (str, bytes, Mapping, list)):
                    setattr(link, name, self.mask(value))


class mask_errors:
    """Masks secrets in the errors that leave its block, and in all that led to them.

    Args:
        secrets: what a server may repeat.
    """

    __slots__ = ("_secrets",)

    # A class, no generator: thousands of calls may wait in here, and each would hold a frame more.
    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __enter__(self) -> None:
        return

    def __exit__(self, exc_type: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception):
            self._secrets.mask_error(error)


def mask_logs(logger_names: Iterable[str]) -> None:
    """Mask the secrets that are in use in what loggers write; doing so twice does no harm."""
    for name in logger_names:
        logging.getLogger(name).addFilter(_filter)


def _can_be_secret(text: str) -> bool:
    """Tell whether a text is unlike a word that an answer may have in it.

    - `sk-0123456789` -> True
    - `not-needed` -> False: a word
    - `key-1` -> False: too short
    """
    if len(text) < _MIN_LENGTH:
        return False

    has_digit = any(letter.isdigit() for letter in text)
    return has_digit or len(text) > _MAX_WORD_LENGTH


def _is_secret(header_name: str) -> bool:
    """Tell whether the value of a header is secret, by the words of its name.

    - `Authorization`, `X-Auth-Request-Access-Token`, `X-ApiKey`, `x_session_token` -> True
    - `X-Author`, `X-Keyboard`, `Tokens-Left` -> False
    - `Idempotency-Key`, `X-Auth-Request-Email` -> False
    """
    words = _WORD_BREAK.split(header_name.lower())
    if _PUBLIC_WORD in words or words[-1] in _PUBLIC_WORDS:
        return False

    for word in words:
        if word in _SECRET_WORDS:
            return True
        if word.endswith(_SECRET_ENDINGS):
            return True

    return False


def _split_credentials(value: str) -> tuple[str, ...]:
    """Read what is secret in a header's value: all of it, and what follows its scheme.

    `" Bearer sk-0123456789"` -> `("Bearer sk-0123456789", "sk-0123456789")`
    """
    if not isinstance(value, str):
        return ()
    words = value.split()
    if not words:
        return ()

    return (value.strip(), words[-1])


def _iterate_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes and its contexts, each once, as they may form a cycle."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue

        seen.add(id(link))
        yield link
        waiting += (link.__cause__, link.__context__)


class _LogFilter(logging.Filter):
    """Masks every living secret in a record, and lets all records through."""

    def filter(self, record: logging.LogRecord) -> bool:
        with _lock:
            living = list(_living)

        message = record.getMessage()
        masked = message
        for secrets in living:
            masked = secrets.mask_text(masked)

        if masked != message:
            # The arguments are part of the message by now, and hold the secret as well.
            record.msg = masked
            record.args = ()

        return True


# Secrets are made and collected on any thread.
_lock = threading.Lock()
_living: WeakSet[Secrets] = WeakSet()
_filter = _LogFilter()
