"""What the SQLSTATEs of PostgreSQL mean for a service (PostgreSQL, appendix A): a conflict between transactions, an
outage, or, for all others, a fault of the code or of the data.

After a conflict the transaction was rolled back and may be repeated. An outage passes without a change of the code: the
request is answered 503 with Retry-After.
"""

from collections.abc import Mapping

CONFLICTS: Mapping[str, str] = {
    "40001": "serialization_failure",
    "40P01": "deadlock_detected",
}

OUTAGES: Mapping[str, str] = {
    "08": "connection exceptions; PgBouncer reports the failures of its servers as 08P01",
    "25006": "read_only_sql_transaction: after a failover the connection leads to a replica",
    "25P03": "idle_in_transaction_session_timeout: the process was stalled",
    "25P04": "transaction_timeout",
    "28": "invalid authorization: a password is being changed, or pg_hba.conf is wrong",
    "3D000": "invalid_catalog_name: the database is missing, for example during a restore",
    "40": "transaction rollback for another reason than a conflict",
    "53": "insufficient resources: 53100 disk_full, 53200 out_of_memory, 53300 too_many_connections",
    "55P03": "lock_not_available: lock_timeout",
    "57": "operator intervention: shutdown, start, crash, and 57014 of statement_timeout",
    "58": "system errors outside of PostgreSQL, for example 58030 io_error",
}
"""By SQLSTATE, or by its class: the first two characters."""


def is_conflict(sqlstate: str) -> bool:
    return sqlstate in CONFLICTS


def is_outage(sqlstate: str) -> bool:
    """Also for a conflict: it is answered like an outage when it is not repeated, or too often."""
    return is_conflict(sqlstate) or sqlstate in OUTAGES or sqlstate[:2] in OUTAGES
