"""Mapping from violated database constraints to domain errors."""

import contextlib
from collections.abc import Iterator, Mapping

import advanced_alchemy.exceptions
import asyncpg
import sqlalchemy.exc

from domain.accounts import EmailTaken
from domain.availability import SlotUnavailable
from domain.errors import DomainError
from domain.events import AlreadyBooked
from domain.external_identity import ExternalAccountTaken
from domain.reviews import AlreadyReviewed
from infrastructure.postgres.engine import driver_error

ERRORS: Mapping[str, type[DomainError]] = {
    "uq_users_email": EmailTaken,
    "uq_users_google_id": ExternalAccountTaken,
    "uq_bookings_one_live_place": AlreadyBooked,
    "uq_reviews_one_each": AlreadyReviewed,
    "ex_coaching_bookings_one_at_a_time": SlotUnavailable,
}
"""Domain error by the name of the constraint or the unique index. A violation of any other constraint is an error in
the program."""

_VIOLATIONS = (
    asyncpg.IntegrityConstraintViolationError,
    sqlalchemy.exc.IntegrityError,
    advanced_alchemy.exceptions.IntegrityError,
)


@contextlib.contextmanager
def domain_errors() -> Iterator[None]:
    """Raises the domain error of a violated constraint. Violations without a line in `ERRORS` pass unchanged."""
    try:
        yield
    except _VIOLATIONS as error:
        meaning = ERRORS.get(getattr(driver_error(error), "constraint_name", None) or "")
        if meaning is None:
            raise
        raise meaning from None
