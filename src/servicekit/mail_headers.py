"""Mail headers at a fraction of the standard library's cost.

`email.policy` creates a class for each header of each mail, and parses headers that are the same in all mails by the
full grammar. That took half of the time of composing a mail.
"""

from email.headerregistry import BaseHeader, HeaderRegistry
from functools import lru_cache
from typing import Any

_CONSTANT_HEADERS = frozenset({"content-type", "content-transfer-encoding", "content-disposition", "mime-version"})


class CachingHeaderRegistry(HeaderRegistry):
    """Caches header classes, and the parsed value of headers that are the same in every mail."""

    def __init__(self) -> None:
        super().__init__()
        self._header_class = lru_cache(super().__getitem__)
        self._parsed = lru_cache(super().__call__)

    def __getitem__(self, name: str) -> Any:
        return self._header_class(name.lower())

    def __call__(self, name: str, value: Any) -> BaseHeader:
        constant = name.lower() in _CONSTANT_HEADERS and type(value) is str
        return self._parsed(name, value) if constant else super().__call__(name, value)
