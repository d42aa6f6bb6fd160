"""The statements that PostgreSQL logged."""

import re
from pathlib import Path

_STATEMENT = re.compile(r"LOG:  (?:execute [^:]+|statement): ")


class StatementLog:
    """PostgreSQL's log of the statements of one database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0

    def since_last_time(self) -> list[str]:
        with self._path.open() as log:
            log.seek(self._seen)
            said = log.read()
            self._seen = log.tell()
        return [line for line in said.splitlines() if _STATEMENT.search(line)]
