"""What must not be shown: the keys that calls carry, wherever a server or a library repeats them."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakSet

_MASK = "***"

#: What is shorter is no secret, nor is a short word such as `anything` or `not-needed`, which local servers take for a
#: key: it would be taken out of every sentence of an answer.
_SHORTEST, _LONGEST_WORD = 8, 15

#: Words of the names of headers whose values are secret, and what such words end in (`X-ApiKey`).
_WORDS = frozenset({"auth", "authorization", "authentication"})
_ENDINGS = ("key", "token", "secret", "cookie", "password", "credential", "credentials")

#: Loggers of the SDK's HTTP library. They write addresses and the headers of answers, which may repeat a key.
_LOGGERS = (
    *("httpx", "httpx2"),
    *(
        f"httpcore{version}.{part}"
        for version in ("", "2")
        for part in ("connection", "http11", "http2", "proxy")
    ),
)


class Secrets:
    """Texts to take out of whatever may be shown. While one of these lives, logs of the HTTP library are masked too."""

    def __init__(self, texts: Iterable[str]) -> None:
        # The longest first, as one may hold another.
        self._texts = tuple(
            sorted({text for text in texts if _can_be_secret(text)}, key=len, reverse=True)
        )
        with _lock:
            _living.add(self)

    def and_of(self, headers: Mapping[str, str] | None) -> Secrets:
        """These, and those among more headers, which are told by their names."""
        more = [
            text
            for name, value in (headers or {}).items()
            if _is_secret(name)
            for text in _parts(value)
        ]
        return Secrets((*self._texts, *more)) if more else self

    def masked(self, value: Any) -> Any:
        """A text, bytes, or plain data of them without the secrets; anything else as it is."""
        if isinstance(value, str):
            for secret in self._texts:
                value = value.replace(secret, _MASK)
        elif isinstance(value, bytes):
            for secret in self._texts:
                value = value.replace(secret.encode(), _MASK.encode())
        elif isinstance(value, Mapping):
            return {self.masked(name): self.masked(inner) for name, inner in value.items()}
        elif type(value) in (list, tuple):
            # A named tuple, such as a library's errors may hold, is none of this and is not made from a list.
            return type(value)(self.masked(inner) for inner in value)
        return value

    def mask_error(self, error: BaseException) -> None:
        """Take the secrets out of the texts and attributes of an error, and of all that led to it."""
        for link in _chain(error):
            link.args = self.masked(link.args)
            for name, value in vars(link).items():
                if isinstance(value, (str, bytes, Mapping, list)):
                    setattr(link, name, self.masked(value))


def _can_be_secret(text: str) -> bool:
    has_digit = any(letter.isdigit() for letter in text)
    return len(text) >= _SHORTEST and (has_digit or len(text) > _LONGEST_WORD)


def _is_secret(name: str) -> bool:
    return any(
        word in _WORDS or word.endswith(_ENDINGS) for word in re.split(r"[-_.]", name.lower())
    )


def _parts(value: str) -> tuple[str, ...]:
    """A header's value without blanks around it, and the credentials after the scheme, as in `Bearer sk-...`."""
    return (value.strip(), value.split()[-1]) if isinstance(value, str) and value.strip() else ()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, its causes and its contexts, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += (link.__cause__, link.__context__)


class _Masking(logging.Filter):
    """Takes every living secret out of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        with _lock:
            living = list(_living)
        text = said = record.getMessage()
        for secrets in living:
            text = secrets.masked(text)
        if text != said:
            record.msg, record.args = text, ()
        return True


_lock = threading.Lock()
_living: WeakSet[Secrets] = WeakSet()
_masking = _Masking()


def mask_logs() -> None:
    """Let no logger of the HTTP library write a secret; once is enough, and again does no harm."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_masking)
