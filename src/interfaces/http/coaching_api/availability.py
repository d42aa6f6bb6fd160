"""Contract E: free slots of coaches, and the hours and rules behind them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from litestar import get, put
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from application.accounts.sessions import Actor
from application.appointments.availability import SetAvailability, ShowOwnAvailability, ShowSlots
from domain.api_keys import Scope
from domain.availability import MINUTES_A_DAY, Availability, Hours, WorkingDay
from domain.coaches import Coach
from domain.errors import Invalid
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.time import entered_day
from interfaces.http.authentication import facilitators, public
from interfaces.http.booking_api.events import RefundTierBody
from interfaces.http.coaching_api.parameters import DEFAULT_LENGTH, CoachIdInPath, Length, RangeEnd, RangeStart
from interfaces.http.injection import Inject
from interfaces.http.schemas import kept, number, whole_seconds

TAGS = ["Contract E: availability"]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00", re.ASCII)
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)

Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class SlotBody(Struct):
    start: datetime
    end: datetime
    duration_minutes: int


class SlotList(Struct):
    coach_id: UUID
    available_slots: list[SlotBody]


class HoursBody(Struct):
    """Local times such as `09:00`; an end of `24:00`, `00:00` or `23:59` is midnight, the end of the day."""

    start: str
    end: str


class AvailabilityBody(Struct):
    timezone: str
    weekly_hours: dict[str, list[HoursBody]]
    date_overrides: dict[date, list[HoursBody]]
    buffer_before_minutes: int
    buffer_after_minutes: int
    minimum_notice_minutes: int
    slot_step_minutes: int
    bookable_days_ahead: int | None
    price_per_hour: float
    currency: str
    refund_policy: list[RefundTierBody]


class AvailabilityChange(Struct):
    """Omitted fields keep their values. `bookable_days_ahead`: `null` removes the limit."""

    timezone: str | UnsetType = UNSET
    weekly_hours: dict[str, list[HoursBody]] | UnsetType = UNSET
    date_overrides: dict[date, list[HoursBody]] | UnsetType = UNSET
    buffer_before_minutes: Count | UnsetType = UNSET
    buffer_after_minutes: Count | UnsetType = UNSET
    minimum_notice_minutes: Count | UnsetType = UNSET
    slot_step_minutes: Count | UnsetType = UNSET
    bookable_days_ahead: Count | None | UnsetType = UNSET
    price_per_hour: Decimal | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    refund_policy: list[RefundTierBody] | UnsetType = UNSET


@get("/booking/coach/{coach_id:str}/availability", operation_id="listSlots", tags=TAGS, opt=public)
async def list_slots(
    coach_id: FromPath[CoachIdInPath],
    start_date: FromQuery[RangeStart],
    end_date: FromQuery[RangeEnd],
    show_slots: Inject[ShowSlots],
    duration_minutes: FromQuery[Length] = DEFAULT_LENGTH,
) -> SlotList:
    slots = await show_slots(coach_id, start_date, end_date, duration_minutes)
    minutes = duration_minutes // _MINUTE
    return SlotList(
        coach_id, [SlotBody(whole_seconds(slot.starts_at), whole_seconds(slot.ends_at), minutes) for slot in slots]
    )


@get(
    "/coach/availability",
    operation_id="getAvailability",
    tags=TAGS,
    guards=[facilitators.with_scope(Scope.APPOINTMENTS_READ)],
)
async def own_availability(
    actor: Inject[Actor], show_own_availability: Inject[ShowOwnAvailability]
) -> AvailabilityBody:
    return _body(await show_own_availability(actor.user))


@put(
    "/coach/availability",
    operation_id="setAvailability",
    tags=TAGS,
    guards=[facilitators.with_scope(Scope.APPOINTMENTS_WRITE)],
)
async def change_availability(
    data: JSONBody[AvailabilityChange], actor: Inject[Actor], set_availability: Inject[SetAvailability]
) -> AvailabilityBody:
    return _body(await set_availability(actor.user, lambda coach: _changed(coach, data)))


ROUTES = [list_slots, own_availability, change_availability]


def _body(coach: Coach) -> AvailabilityBody:
    said, price = coach.availability, coach.price_per_hour
    return AvailabilityBody(
        timezone=said.timezone,
        weekly_hours={name: _shown(said.weekly[day]) for day, name in enumerate(WEEKDAYS)},
        date_overrides={day: _shown(hours) for day, hours in sorted(said.overrides.items())},
        buffer_before_minutes=said.buffer_before // _MINUTE,
        buffer_after_minutes=said.buffer_after // _MINUTE,
        minimum_notice_minutes=said.minimum_notice // _MINUTE,
        slot_step_minutes=said.slot_step // _MINUTE,
        bookable_days_ahead=None if said.bookable_ahead is None else said.bookable_ahead // _DAY,
        price_per_hour=number(price.amount, price.currency),
        currency=price.currency,
        refund_policy=[RefundTierBody(tier.hours_before, tier.percent) for tier in coach.refund_policy.tiers],
    )


def _changed(coach: Coach, change: AvailabilityChange) -> Coach:
    said = coach.availability
    availability = Availability(
        timezone=kept(change.timezone, said.timezone),
        weekly=said.weekly if change.weekly_hours is UNSET else _weekly(change.weekly_hours),
        overrides=said.overrides
        if change.date_overrides is UNSET
        else _overrides(change.date_overrides, said.overrides),
        buffer_before=_minutes(change.buffer_before_minutes, said.buffer_before),
        buffer_after=_minutes(change.buffer_after_minutes, said.buffer_after),
        minimum_notice=_minutes(change.minimum_notice_minutes, said.minimum_notice),
        slot_step=_minutes(change.slot_step_minutes, said.slot_step),
        bookable_ahead=_ahead(change.bookable_days_ahead, said.bookable_ahead),
    )
    price = coach.price_per_hour
    return replace(
        coach,
        availability=availability,
        price_per_hour=Money(kept(change.price_per_hour, price.amount), kept(change.currency, price.currency)),
        refund_policy=coach.refund_policy
        if change.refund_policy is UNSET
        else RefundPolicy.of((tier.hours_before, tier.percent) for tier in change.refund_policy),
    )


def _minutes(given: int | UnsetType, present: timedelta) -> timedelta:
    return present if given is UNSET else given * _MINUTE


def _ahead(given: int | UnsetType | None, present: timedelta | None) -> timedelta | None:
    if given is UNSET:
        return present
    return None if given is None else given * _DAY


def _weekly(given: Mapping[str, list[HoursBody]]) -> dict[int, WorkingDay]:
    if not given.keys() <= set(WEEKDAYS):
        raise Invalid({"weekly_hours": "Must name days from monday to sunday"})
    return {WEEKDAYS.index(name): _hours("weekly_hours", hours) for name, hours in given.items()}


def _overrides(
    given: Mapping[date, list[HoursBody]] | UnsetType, present: Mapping[date, WorkingDay]
) -> Mapping[date, WorkingDay]:
    """A request replaces all overrides, so stored dates outside of the accepted range may be repeated."""
    if given is UNSET:
        return present
    return {
        day if day in present else entered_day(day, "date_overrides"): _hours("date_overrides", hours)
        for day, hours in given.items()
    }


def _hours(field: str, given: list[HoursBody]) -> WorkingDay:
    return tuple(Hours(_clock(field, hours.start), _clock(field, hours.end) or MINUTES_A_DAY) for hours in given)


def _clock(field: str, text: str) -> int:
    if not _CLOCK.fullmatch(text):
        raise Invalid({field: "Must give times such as 09:00"})
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def _shown(working: WorkingDay) -> list[HoursBody]:
    return [
        HoursBody(f"{hours.opens // 60:02}:{hours.opens % 60:02}", f"{hours.closes // 60:02}:{hours.closes % 60:02}")
        for hours in working
    ]
