"""Errors of the database as the command line says them."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from interfaces.cli.problems import error_message


def _reported(sqlstate: str) -> asyncpg.PostgresError:
    error = asyncpg.PostgresError.new({"C": sqlstate, "S": "ERROR", "M": "reported"})
    assert isinstance(error, asyncpg.PostgresError)
    return error


@pytest.mark.parametrize(
    ("sqlstate", "hint"),
    [("53300", "check DATABASE_URL"), ("57P03", "check DATABASE_URL"), ("42P01", "convene migrate")],
)
def test_outage_and_missing_tables_are_a_line(sqlstate: str, hint: str) -> None:
    for error in (_reported(sqlstate), DBAPIError("SELECT 1", None, _reported(sqlstate))):
        assert hint in (error_message(error) or "")


@pytest.mark.parametrize("sqlstate", ["42883", "23505", "22P02"])
def test_fault_of_the_code_is_shown_with_its_traceback(sqlstate: str) -> None:
    assert error_message(_reported(sqlstate)) is None
