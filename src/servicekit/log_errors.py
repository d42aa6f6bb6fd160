"""Errors in the logs: their text without the data of users, and how many of one kind are logged."""

import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType

_DATABASE_LIBRARIES = frozenset({"asyncpg", "sqlalchemy"})
_TEXT_IS_PUBLIC = frozenset({"08", "0A", "23", "25", "26", "28", "3D", "40", "42", "53", "54", "55", "57", "58", "XX"})
"""Classes of SQLSTATE whose first line names objects of the schema or states of the server, and no values (PostgreSQL,
appendix A). The lines after it may hold values: DETAIL, the statement and its parameters."""
_NAMES = ("table_name", "column_name", "constraint_name")
_MOST_KINDS = 1000


def error_text(error: BaseException) -> str:
    """The text of an error, or the name of its class if it has none. A database error has its SQLSTATE and the names of
    the objects that it concerns instead of a text that may hold values of users."""
    if type(error).__module__.partition(".")[0] not in _DATABASE_LIBRARIES:
        return str(error) or type(error).__name__
    reported = getattr(error, "orig", None) or error
    state = getattr(reported, "sqlstate", None)
    if state is None:
        # Errors about arguments quote them: asyncpg's DataError, SQLAlchemy's StatementError.
        quotes = isinstance(error, ValueError) or hasattr(error, "params")
        return type(error).__name__ if quotes else _first_line(error)
    text = _first_line(reported) if state[:2] in _TEXT_IS_PUBLIC else type(reported).__name__
    names = [f"{name.removesuffix('_name')} {value}" for name in _NAMES if (value := getattr(reported, name, None))]
    return f"{text} ({', '.join([f'SQLSTATE {state}', *names])})"


def exception_text(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """The traceback, with `error_text` for each of the errors."""
    shown = traceback.TracebackException(*exc_info)
    _replace_texts(shown, exc_info[1], set())
    return "".join(shown.format()).rstrip("\n")


def _replace_texts(shown: traceback.TracebackException, error: BaseException, seen: set[int]) -> None:
    if id(error) in seen:
        return
    seen.add(id(error))
    if type(error).__module__.partition(".")[0] in _DATABASE_LIBRARIES:
        shown._str = error_text(error)  # type: ignore[attr-defined]
    causes = ((shown.__cause__, error.__cause__), (shown.__context__, error.__context__))
    grouped = zip(
        shown.exceptions or (), error.exceptions if isinstance(error, BaseExceptionGroup) else (), strict=False
    )
    for inner, inner_error in (*causes, *grouped):
        if inner is not None and inner_error is not None:
            _replace_texts(inner, inner_error, seen)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300] or type(error).__name__


class ErrorLimit:
    """Limits the errors of one kind that are logged: `burst` in `seconds`, from the first one on. A kind is the event
    and the class of the exception."""

    def __init__(
        self, *, burst: int = 10, seconds: float = 60, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._seconds = seconds
        self._monotonic = monotonic
        self._kinds: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def admit(self, event: str, error: object) -> int | None:
        """None for an error that is not to be logged, otherwise how many of its kind were not logged before it."""
        kind = (event, type(error).__qualname__)
        now = self._monotonic()
        state = self._kinds.get(kind)
        if state is None or now - state[0] >= self._seconds:
            suppressed = 0 if state is None else max(0, int(state[1]) - self._burst)
            self._kinds[kind] = [now, 1]
            self._kinds.move_to_end(kind)
            while len(self._kinds) > _MOST_KINDS:
                self._kinds.popitem(last=False)
            return suppressed
        state[1] += 1
        return 0 if state[1] <= self._burst else None
