"""One-line messages for errors that a user of the command line can cause or fix."""

import click

from domain.errors import DomainError, Invalid, Unavailable
from infrastructure.embedded.errors import Unusable
from infrastructure.settings import SettingsError

_UNDEFINED = frozenset({"42P01", "42703"})
"""SQLSTATEs of a table and of a column that do not exist."""


class Problem(click.ClickException):
    """A command fails. The message is one line: the problem and what to do."""

    exit_code = 1


def error_message(error: Exception) -> str | None:
    """The line for an error; None for an error in the program, which is shown with its traceback."""
    if isinstance(error, SettingsError | Unusable):
        return str(error)
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, Unavailable):
        return f"{error.message}; `convene doctor` says what is missing"
    if isinstance(error, Invalid):
        return "; ".join(f"{field}: {why}" for field, why in error.details.items())
    if isinstance(error, DomainError):
        return error.message
    return _outage(error)


def _outage(error: Exception) -> str | None:
    origin = type(error).__module__.partition(".")[0]
    if origin == "redis":
        return f"Redis is unavailable ({_short(error)}): check REDIS_URL, or run `convene doctor`"
    if origin in {"asyncpg", "sqlalchemy"}:
        from infrastructure.postgres.engine import driver_error
        from servicekit.sqlstates import is_outage

        sqlstate = getattr(driver_error(error), "sqlstate", None)
        if sqlstate in _UNDEFINED:
            return f"the database does not have the tables of this version ({_short(error)}): run `convene migrate`"
        if sqlstate is not None and not is_outage(sqlstate):
            return None
        return f"the database is unavailable ({_short(error)}): check DATABASE_URL, or run `convene doctor`"
    if isinstance(error, OSError):
        return f"{_short(error)}: run `convene doctor` to see what is missing"
    return None


def _short(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
