"""Mail headers at a fraction of the cost: the standard library makes a class for each header, and parses the headers of
every part by the full grammar, also those that are alike in all mails. That was half the time of writing a mail."""

from email.headerregistry import BaseHeader, HeaderRegistry
from typing import Any

_ALIKE = frozenset({"content-type", "content-transfer-encoding", "content-disposition", "mime-version"})
_MOST_REMEMBERED = 256


class RememberingHeaders(HeaderRegistry):
    """Headers are immutable, so one may stand in any number of mails."""

    def __init__(self) -> None:
        super().__init__()
        self._classes: dict[str, Any] = {}
        self._made: dict[tuple[str, str], BaseHeader] = {}

    def __getitem__(self, name: str) -> Any:
        kind = self._classes.get(name.lower())
        if kind is None:
            kind = self._classes[name.lower()] = super().__getitem__(name)
        return kind

    def __call__(self, name: str, value: Any) -> BaseHeader:
        if name.lower() not in _ALIKE or type(value) is not str:
            return super().__call__(name, value)
        made = self._made.get((name, value))
        if made is None:
            made = super().__call__(name, value)
            if len(self._made) < _MOST_REMEMBERED:
                self._made[name, value] = made
        return made
