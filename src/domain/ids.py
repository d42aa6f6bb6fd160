"""Identifiers that several contexts share, and references to what can be paid for."""

from dataclasses import dataclass
from typing import NewType, TypeAlias
from uuid import UUID

BookingId = NewType("BookingId", int)
AppointmentId = NewType("AppointmentId", UUID)


@dataclass(frozen=True, slots=True)
class BookingRef:
    """Refers to a booking of a seat in an event."""

    id: BookingId


@dataclass(frozen=True, slots=True)
class AppointmentRef:
    """Refers to an appointment with a coach."""

    id: AppointmentId


PayableRef: TypeAlias = BookingRef | AppointmentRef
"""The subject of a payment or of a reminder."""
