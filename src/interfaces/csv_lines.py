"""CSV (RFC 4180) for programs and spreadsheets."""

import csv
import io
from collections.abc import Iterable, Sequence

_BEGINS_FORMULA = frozenset("=+-@\t\r")
"""First characters of a cell that spreadsheets evaluate (https://owasp.org/www-community/attacks/CSV_Injection)."""


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """One line for each row, with CRLF. An empty cell for None. A text that a spreadsheet would evaluate as a formula
    gets an apostrophe before it."""
    lines = io.StringIO()
    csv.writer(lines).writerows([[_cell(value) for value in row] for row in rows])
    return lines.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in _BEGINS_FORMULA else value
