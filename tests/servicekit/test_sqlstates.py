"""Errors of PostgreSQL: outages, conflicts and faults."""

import asyncpg
import pytest

from servicekit import sqlstates
from servicekit.database import is_unavailable


def reported(sqlstate: str) -> asyncpg.PostgresError:
    error = asyncpg.PostgresError.new({"C": sqlstate, "S": "ERROR", "M": "reported"})
    assert isinstance(error, asyncpg.PostgresError)
    return error


@pytest.mark.parametrize(
    "sqlstate",
    [
        *("40001", "40P01", "40000", "40003", "25006", "25P03", "25P04"),
        *("53000", "53100", "53200", "53300", "53400", "57014", "57P01", "57P02", "57P03", "57P04", "57P05"),
        *("08000", "08001", "08003", "08004", "08006", "08P01", "55P03", "58000", "58030", "28000", "28P01", "3D000"),
        *("57P99", "08X99"),  # of later versions
    ],
)
def test_outage(sqlstate: str) -> None:
    assert is_unavailable(reported(sqlstate))


@pytest.mark.parametrize(
    "sqlstate",
    ["22003", "22P02", "23505", "23P01", "25001", "25P02", "42501", "42P01", "55000", "P0001", "XX000", "XX001"],
)
def test_fault_of_the_code_or_the_data(sqlstate: str) -> None:
    assert not is_unavailable(reported(sqlstate))


def test_conflicts_are_those_whose_transaction_may_be_repeated() -> None:
    assert set(sqlstates.CONFLICTS) == {"40001", "40P01"}
    assert not sqlstates.is_conflict("40003")  # it is not known whether the transaction was committed
