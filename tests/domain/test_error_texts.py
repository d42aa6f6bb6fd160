"""What the errors of rules say: people read these texts in forms, so each has its exact words."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from domain.accounts import PasswordPolicy, Role, acceptable_password, check_mailable, require_self_assignable
from domain.appointments import length_of
from domain.attachments import MAX_BYTES, NewAttachment, clean_filename
from domain.availability import Availability, Hours, search_window, zone_of
from domain.checkout_return import ReturnUrls
from domain.errors import Invalid, Unavailable
from domain.events import refuse_past
from domain.money import Money
from domain.participant_messages import ParticipantMessage
from domain.refunds import RefundPolicy, RefundTier
from domain.text import line, link
from domain.time import Interval, as_utc, entered_day, entered_instant
from domain.unpaid_holds import HoldLimits, HoldsWithCoach, TooManyUnpaidHolds
from tests.domain.builders import NOW, a_plan, an_interval

OUT_OF_RANGE = "Must be between 1970-01-01 and 2099-12-31"
BEFORE_1970 = datetime(1969, 12, 31, tzinfo=UTC)


def rupees(amount: str) -> Money:
    return Money(Decimal(amount), "INR")


@pytest.mark.parametrize(
    ("act", "field", "text"),
    [
        (lambda: require_self_assignable(Role.ADMIN), "role", "Must be user or facilitator"),
        (
            lambda: check_mailable("jörg@example.com", smtputf8=False),
            "email",
            "Letters beyond ASCII before the @-sign are not supported",
        ),
        (
            lambda: acceptable_password("p" * 513, PasswordPolicy.CONTRACT),
            "password",
            "Must be at most 128 characters",
        ),
        (lambda: acceptable_password("p" * 7, PasswordPolicy.CONTRACT), "password", "Must have 8 to 128 characters"),
        (lambda: acceptable_password("p" * 14, PasswordPolicy.STRICT), "password", "Must have 15 to 128 characters"),
        (lambda: acceptable_password("p" * 15, PasswordPolicy.STRICT), "password", "Is too easy to guess"),
        (lambda: entered_instant(BEFORE_1970, "start_datetime"), "start_datetime", OUT_OF_RANGE),
        (lambda: entered_day(date(2100, 1, 1), "day"), "day", OUT_OF_RANGE),
        (lambda: as_utc(datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))), "datetime", OUT_OF_RANGE),
        (lambda: Interval(NOW, NOW), "end_datetime", "Must be after the start"),
        (lambda: refuse_past(an_interval(starts_in=timedelta(0)), NOW), "start_datetime", "Must be in the future"),
        (lambda: a_plan(capacity=0), "max_participants", "Must be between 1 and 1000000"),
        (lambda: ParticipantMessage.entered("Hello", " "), "text", "Must not be empty"),
        (lambda: ParticipantMessage.entered(" ", "Hello"), "subject", "Must not be empty"),
        (lambda: line("title", "t" * 4, at_most=3), "title", "Must be at most 3 characters"),
        (
            lambda: link("virtual_link", "ftp://example.com"),
            "virtual_link",
            "Must be an http or https address with a host and without a user name",
        ),
        (lambda: rupees("NaN"), "price", "Must be a finite number"),
        (lambda: rupees("-1"), "price", "Must not be negative"),
        (lambda: rupees("10000000001"), "price", "Must be at most 10,000,000,000"),
        (lambda: rupees("0.001"), "price", "INR has 2 decimal places"),
        (lambda: length_of(14), "duration_minutes", "Must be between 15 and 480"),
        (lambda: NewAttachment("a", "text/plain", b""), "file", "Must not be empty"),
        (lambda: NewAttachment("a", "text/plain", b" " * (MAX_BYTES + 1)), "file", "Must be at most 5 MB"),
        (lambda: clean_filename("..."), "filename", "Must be the name of a file"),
        (lambda: RefundTier(-1, 50), "refund_policy", "hours_before must be between 0 and 8784"),
        (lambda: RefundTier(0, 101), "refund_policy", "percent must be between 0 and 100"),
        (
            lambda: RefundPolicy.of([(hours, 0) for hours in range(11)]),
            "refund_policy",
            "Must have at most 10 tiers",
        ),
        (lambda: RefundPolicy.of([(1, 0), (1, 0)]), "refund_policy", "Two tiers end at the same time"),
        (
            lambda: RefundPolicy.of([(2, 0), (1, 50)]),
            "refund_policy",
            "A later cancellation must not give back more than an earlier one",
        ),
        (lambda: zone_of("Mars/Crater"), "timezone", "Must be an IANA time zone such as Europe/Berlin"),
        (lambda: Hours(60, 60), "hours", "Must begin before they end, within one day"),
        (
            lambda: Availability(weekly={0: (Hours(0, 2), Hours(1, 3))}),
            "weekly_hours",
            "The hours of one day must not overlap",
        ),
        (
            lambda: Availability(overrides={date(2026, 12, 1): (Hours(0, 2), Hours(1, 3))}),
            "date_overrides",
            "The hours of one day must not overlap",
        ),
        (lambda: search_window(NOW, NOW), "end_date", "End date must be after start date"),
        (
            lambda: ReturnUrls().require_allowed("https://example.com"),
            "return_url",
            "Is not one of the allowed addresses, character by character",
        ),
    ],
)
def test_invalid_value_is_named_with_the_reason(act: Callable[[], object], field: str, text: str) -> None:
    with pytest.raises(Invalid) as refused:
        act()
    assert refused.value.details == {field: text}


MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("setting", "field", "bounds"),
    [
        ("buffer_before", "buffer_before_minutes", (0, 1440)),
        ("buffer_after", "buffer_after_minutes", (0, 1440)),
        ("minimum_notice", "minimum_notice_minutes", (0, 527040)),
        ("slot_step", "slot_step_minutes", (5, 1440)),
        ("bookable_ahead", "bookable_days_ahead", (1440, 5270400)),
    ],
)
def test_setting_of_a_coach_is_named_with_its_bounds(setting: str, field: str, bounds: tuple[int, int]) -> None:
    least, most = bounds
    for inside in bounds:
        given = Availability(**{setting: inside * MINUTE})  # type: ignore[arg-type]
        assert getattr(given, setting) == inside * MINUTE
    for outside in (least - 1, most + 1):
        with pytest.raises(Invalid) as refused:
            Availability(**{setting: outside * MINUTE})  # type: ignore[arg-type]
        assert refused.value.details == {field: f"Must be between {least} and {most} minutes"}


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (
            lambda: HoldLimits(per_account=1).require_another(1),
            "You have 1 unpaid booking. Please pay or cancel one of them before you book another",
        ),
        (
            lambda: HoldLimits().require_another(2, HoldsWithCoach(2, 0)),
            "You have 2 unpaid bookings with this coach. Please pay or cancel one of them before you book another "
            "with them",
        ),
        (
            lambda: HoldLimits().require_another(1, HoldsWithCoach(1, 1), series=True),
            "You have an unpaid recurring booking with this coach. Please pay or cancel its sessions before you book "
            "another series with them",
        ),
    ],
)
def test_limit_of_unpaid_bookings_says_what_to_do(act: Callable[[], object], text: str) -> None:
    with pytest.raises(TooManyUnpaidHolds) as refused:
        act()
    assert refused.value.message == text


def test_unavailable_service_is_tried_again_after_two_seconds() -> None:
    assert Unavailable().retry_after == 2
