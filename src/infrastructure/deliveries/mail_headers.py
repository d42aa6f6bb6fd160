"""Mail headers at a fraction of the cost: the standard library makes a class for each header, and parses the headers of
every part by the full grammar, also those that are alike in all mails. That was half the time of writing a mail."""

from email.headerregistry import BaseHeader, HeaderRegistry
from functools import lru_cache
from typing import Any

_ALIKE = frozenset({"content-type", "content-transfer-encoding", "content-disposition", "mime-version"})


class RememberingHeaders(HeaderRegistry):
    """Headers are immutable, so one may stand in any number of mails."""

    def __init__(self) -> None:
        super().__init__()
        self._kind = lru_cache(super().__getitem__)
        self._made = lru_cache(super().__call__)

    def __getitem__(self, name: str) -> Any:
        return self._kind(name.lower())

    def __call__(self, name: str, value: Any) -> BaseHeader:
        alike = name.lower() in _ALIKE and type(value) is str
        return self._made(name, value) if alike else super().__call__(name, value)
