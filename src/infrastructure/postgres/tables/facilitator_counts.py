"""Tables of the counts that a dashboard shows. Triggers write the changes: migration 0029."""

from datetime import date, datetime
from decimal import Decimal

from advanced_alchemy.base import DefaultBase
from sqlalchemy import BigInteger, Identity, Numeric, Text, text
from sqlalchemy.orm import Mapped, declarative_mixin, mapped_column

from infrastructure.postgres.tables.columns import INSTANT


def _count() -> Mapped[int]:
    return mapped_column(BigInteger, server_default=text("0"))


@declarative_mixin
class _Counts:
    """By the month (UTC) in which an event starts, a booking was made, or a payment was requested. `sessions_ahead`:
    active and not completed. Events and bookings have the currency ''."""

    sessions: Mapped[int] = _count()
    active_sessions: Mapped[int] = _count()
    sessions_ahead: Mapped[int] = _count()
    bookings: Mapped[int] = _count()
    payments: Mapped[int] = _count()
    revenue: Mapped[Decimal] = mapped_column(Numeric(24, 4), server_default=text("0"))


class FacilitatorCountRow(_Counts, DefaultBase):
    """What the changes add up to that are no longer in their table."""

    __tablename__ = "facilitator_counts"

    facilitator_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(Text, primary_key=True)


class FacilitatorCountChangeRow(_Counts, DefaultBase):
    """A change that a worker has not added yet, so that no transaction waits for another one's counts."""

    __tablename__ = "facilitator_count_changes"

    facilitator_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    month: Mapped[date]
    currency: Mapped[str] = mapped_column(Text, server_default=text("''"))


class CountedFacilitatorRow(DefaultBase):
    """A facilitator whose counts are complete, with the time of the last full count."""

    __tablename__ = "counted_facilitators"

    facilitator_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    counted_at: Mapped[datetime] = mapped_column(INSTANT)
