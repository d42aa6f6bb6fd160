"""The ports of coaches, attachments and statistics, in memory and in PostgreSQL."""

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from application.appointments.ports import CoachView, CoachWeek, StoredFile
from domain.accounts import Role, User
from domain.appointments import AppointmentStatus
from domain.attachments import AttachmentId, AttachmentNotFound, AttachmentUsage, NewAttachment
from domain.availability import NINE_TO_FIVE, Availability, Hours
from domain.coaches import Coach, CoachNotFound
from domain.errors import Invalid
from domain.events import Event
from domain.money import Money
from domain.refunds import RefundPolicy
from domain.reviews import Review
from domain.time import Interval
from domain.weeks import Week
from tests.conformance.appointment_adapters import START, AppointmentAdapters, of_kind
from tests.conformance.booking_adapters import DAY, HOUR, NOW, inr

UNKNOWN = UUID(int=2**127)
TODAY = NOW.date()
POLICY = RefundPolicy.of([(48, 100), (24, 50)])
EUROS = Money(inr("40.50").amount, "EUR")
HOURS = Availability(
    timezone="Europe/Berlin",
    weekly={0: (Hours(540, 720), Hours(780, 1440)), 3: NINE_TO_FIVE},
    overrides={date(2031, 5, 1): (), date(2031, 5, 2): (Hours(600, 660),)},
    buffer_before=timedelta(minutes=10),
    buffer_after=timedelta(minutes=15),
    minimum_notice=timedelta(days=1),
    slot_step=timedelta(minutes=20),
    bookable_ahead=timedelta(days=60),
)


@pytest.fixture(params=["memory", "postgres"])
def adapters(request: pytest.FixtureRequest) -> AppointmentAdapters:
    return of_kind(request)


async def save(adapters: AppointmentAdapters, user: User, availability: Availability, price: Money) -> None:
    async with adapters.changing() as work:
        await work.coaches.save(user.id, availability, price, POLICY, NOW)


async def update(adapters: AppointmentAdapters, user: User, **changes: object) -> None:
    async with adapters.changing() as work:
        await work.users.save(replace(await work.users.get_locked(user.id), **changes))  # type: ignore[arg-type]


async def coach_of(adapters: AppointmentAdapters, user: User) -> Coach:
    async with adapters.open_work() as work:
        coach = await work.coaches.get_by_id(user.id)
        assert await work.coaches.get(user.uuid) == coach
        assert await work.coaches.get_to_book(user.uuid) == coach
    return coach


# Terms of a coach


async def test_coach_without_terms_has_the_defaults(adapters: AppointmentAdapters) -> None:
    user = await adapters.coach()
    assert await coach_of(adapters, user) == Coach(user, Availability(), inr(0), RefundPolicy())
    await update(adapters, user, timezone="Asia/Kolkata")
    assert (await coach_of(adapters, user)).availability == Availability(timezone="Asia/Kolkata")


async def test_terms_are_stored_as_they_were_saved(adapters: AppointmentAdapters) -> None:
    user = await adapters.coach()
    for availability, price in ((Availability(), inr(10)), (HOURS, EUROS)):
        await save(adapters, user, availability, price)
        assert await coach_of(adapters, user) == Coach(user, availability, price, POLICY)


async def test_facilitators_and_admins_are_coaches_also_when_inactive(adapters: AppointmentAdapters) -> None:
    admin, inactive, client = await adapters.person(Role.ADMIN), await adapters.coach(), await adapters.person()
    await update(adapters, inactive, is_active=False)
    assert (await coach_of(adapters, admin)).user == admin
    assert not (await coach_of(adapters, inactive)).user.is_active
    async with adapters.open_work() as work:
        with pytest.raises(CoachNotFound):
            await work.coaches.get_by_id(client.id)
        for unknown in (client.uuid, UNKNOWN):
            for find in (work.coaches.get, work.coaches.get_to_book):
                with pytest.raises(CoachNotFound):
                    await find(unknown)


# Busy times


async def busy(adapters: AppointmentAdapters, coach: User, since: float, until: float, **more: object) -> list[float]:
    """The start of each busy time in that window, in hours after `START`."""
    window = Interval(START + since * HOUR, START + until * HOUR)
    async with adapters.open_work() as work:
        await work.coaches.lock_out_events(coach.id)
        found = await work.coaches.busy(coach.id, window, **more)  # type: ignore[arg-type]
    return sorted((each.starts_at - START) / HOUR for each in found)


async def event_at(adapters: AppointmentAdapters, coach: User, hour: float) -> Event:
    interval = Interval(START + hour * HOUR, START + (hour + 1) * HOUR)
    return await adapters.event(facilitator=coach, interval=interval)


async def test_live_sessions_with_buffers_events_and_calendar_entries_are_busy(adapters: AppointmentAdapters) -> None:
    coach = await adapters.coach()
    session = await adapters.appointment(coach, hour=0, busy=(0.5, 0))
    await adapters.in_status(AppointmentStatus.CONFIRMED, coach, hour=2)
    await adapters.in_status(AppointmentStatus.CANCELLED, coach, hour=4)
    await adapters.in_status(AppointmentStatus.COMPLETED, coach, hour=6)
    await event_at(adapters, coach, 8)
    cancelled, deleted = await event_at(adapters, coach, 10), await event_at(adapters, coach, 12)
    async with adapters.changing() as work:
        await work.events.save((await work.events.get(cancelled.id)).cancelled(NOW, by=coach.id))
        await work.events.save((await work.events.get(deleted.id)).deleted(NOW, by=coach.id))
    await adapters.connect(coach, [Interval(START + 14 * HOUR, START + 15 * HOUR)])
    await adapters.appointment(hour=16)  # of another coach
    assert await busy(adapters, coach, -1, 24) == [-0.5, 2, 8, 14]
    assert await busy(adapters, coach, -1, 24, apart_from=session.id) == [2, 8, 14]
    assert await busy(adapters, await adapters.coach(), -1, 24) == []


@pytest.mark.parametrize(("since", "until", "found"), [(1, 4, []), (0.9, 1, [0]), (3, 4.1, [4]), (-1, 9, [0, 4, 8])])
async def test_busy_times_are_those_that_overlap_the_window(
    adapters: AppointmentAdapters, since: float, until: float, found: list[float]
) -> None:
    coach = await adapters.coach()
    await adapters.appointment(coach, hour=0)
    await event_at(adapters, coach, 4)
    await adapters.connect(coach, [Interval(START + 8 * HOUR, START + 9 * HOUR)])
    assert await busy(adapters, coach, since, until) == found


# Coaches for clients


async def test_coach_is_shown_with_profile_price_and_rating(adapters: AppointmentAdapters) -> None:
    user = await adapters.coach()
    expected = CoachView(user.uuid, user.name, "A bio", "Careers", None, inr(0), "UTC")
    assert await adapters.coach_queries.get(user.uuid, TODAY) == expected
    await save(adapters, user, HOURS, EUROS)
    event = await adapters.event(facilitator=user)
    for rating in (5, 2):
        client = await adapters.person()
        async with adapters.changing() as work:
            review = Review(event.id, client.id, rating, None, NOW)
            await work.reviews.add(review, facilitator_id=user.id)
    found = await adapters.coach_queries.get(user.uuid, TODAY)
    assert found == replace(expected, rating=3.5, price_per_hour=EUROS, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("availability", "is_offered"),
    [
        (Availability(weekly={0: NINE_TO_FIVE}), True),
        (Availability(weekly={}), False),
        (Availability(weekly={}, overrides={TODAY: NINE_TO_FIVE}), True),
        (Availability(weekly={}, overrides={TODAY - DAY: NINE_TO_FIVE}), True),
        (Availability(weekly={}, overrides={TODAY - 2 * DAY: NINE_TO_FIVE}), False),
        (Availability(weekly={}, overrides={TODAY: ()}), False),
    ],
)
async def test_coach_with_hours_to_come_is_offered(
    adapters: AppointmentAdapters, availability: Availability, is_offered: bool
) -> None:
    """Yesterday's hours count: yesterday has not ended in all time zones."""
    user = await adapters.coach()
    await save(adapters, user, availability, inr(10))
    listed = [each.uuid for each in (await adapters.coach_queries.list(10_000, None, TODAY)).items]
    assert (user.uuid in listed) is is_offered
    if is_offered:
        await adapters.coach_queries.get(user.uuid, TODAY)
        return
    with pytest.raises(CoachNotFound):
        await adapters.coach_queries.get(user.uuid, TODAY)


async def test_clients_admins_and_inactive_facilitators_are_not_offered(adapters: AppointmentAdapters) -> None:
    inactive = await adapters.coach()
    await update(adapters, inactive, is_active=False)
    others = [await adapters.person(), await adapters.person(Role.ADMIN), inactive]
    listed = {each.uuid for each in (await adapters.coach_queries.list(10_000, None, TODAY)).items}
    assert not listed & {each.uuid for each in others}
    for uuid in (*(each.uuid for each in others), UNKNOWN):
        with pytest.raises(CoachNotFound):
            await adapters.coach_queries.get(uuid, TODAY)


async def test_coaches_are_listed_in_the_order_of_registration_in_pages(adapters: AppointmentAdapters) -> None:
    users = [await adapters.coach() for _ in range(3)]
    listed: list[UUID] = []
    cursor = None
    while True:
        page = await adapters.coach_queries.list(2, cursor, TODAY)
        listed += [each.uuid for each in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert listed[-3:] == [user.uuid for user in users]
    with pytest.raises(Invalid):
        await adapters.coach_queries.list(2, "nonsense", TODAY)


# Attachments


async def test_attachment_is_stored_with_its_content(adapters: AppointmentAdapters) -> None:
    appointment, new = await adapters.appointment(), NewAttachment("goals.pdf", "application/pdf", bytes(range(256)))
    async with adapters.changing() as work:
        assert await work.attachments.count(appointment.id) == 0
        ids = [
            await work.attachments.add(appointment.id, user, new, NOW)
            for user in (appointment.client_id, appointment.coach_id)
        ]
        assert await work.attachments.count(appointment.id) == 2
        attachment = await work.attachments.get(appointment.id, ids[0])
    assert (attachment.id, attachment.booking_id, attachment.uploaded_by) == (
        ids[0],
        appointment.id,
        appointment.client_id,
    )
    assert (attachment.filename, attachment.media_type) == ("goals.pdf", "application/pdf")
    assert (attachment.size, attachment.created_at) == (256, NOW)
    people = await adapters.appointments.get(appointment.id)
    views = await adapters.attachments.list(appointment.id)
    assert [(each.attachment.id, each.uploader_uuid, each.uploader_name) for each in views] == [
        (ids[0], people.client_uuid, people.client_name),
        (ids[1], people.coach_uuid, people.coach_name),
    ]
    assert await adapters.attachments.get(appointment.id, ids[0]) == views[0]
    assert views[0].attachment == attachment
    content = await adapters.attachments.content(appointment.id, ids[1])
    assert content == StoredFile("goals.pdf", "application/pdf", new.content)


async def test_usage_of_an_account_is_that_of_all_its_appointments(adapters: AppointmentAdapters) -> None:
    client = await adapters.person()
    appointments = [await adapters.appointment(client=client, hour=hour) for hour in (1, 3)]

    async def used() -> AttachmentUsage:
        async with adapters.open_work() as work:
            return await work.attachments.usage(client.id)

    assert await used() == AttachmentUsage(0, 0)
    async with adapters.changing() as work:
        for appointment, content in zip(appointments, (b"x" * 3, b"y" * 40), strict=True):
            for user in (client.id, appointment.coach_id):
                new = NewAttachment("goals.txt", "text/plain", content)
                added = await work.attachments.add(appointment.id, user, new, NOW)
                assert await work.attachments.usage(user) is not None
    assert await used() == AttachmentUsage(2, 43)
    async with adapters.changing() as work:
        await work.attachments.remove(added)
    assert await used() == AttachmentUsage(2, 43), "the coach's"


async def test_removed_attachment_and_that_of_another_appointment_are_not_found(adapters: AppointmentAdapters) -> None:
    appointment, other = await adapters.appointment(), await adapters.appointment()
    async with adapters.changing() as work:
        new = NewAttachment("goals.txt", "text/plain", b"hello")
        attachment_id = await work.attachments.add(appointment.id, appointment.client_id, new, NOW)

    async def assert_not_found(*names: AttachmentId) -> None:
        for name in names:
            for booking in (appointment.id, other.id):
                for find in (adapters.attachments.get, adapters.attachments.content):
                    with pytest.raises(AttachmentNotFound):
                        await find(booking, name)
                async with adapters.open_work() as work:
                    with pytest.raises(AttachmentNotFound):
                        await work.attachments.get(booking, name)

    await assert_not_found(AttachmentId(UNKNOWN))
    assert await adapters.attachments.list(other.id) == []
    with pytest.raises(AttachmentNotFound):
        await adapters.attachments.get(other.id, attachment_id)
    async with adapters.changing() as work:
        await work.attachments.remove(attachment_id)
    await assert_not_found(attachment_id)
    assert await adapters.attachments.list(appointment.id) == []


# Statistics


@pytest.mark.parametrize("zone", [ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Auckland")], ids=str)
async def test_statistics_count_the_sessions_of_each_week(adapters: AppointmentAdapters, zone: ZoneInfo) -> None:
    coach, client = await adapters.coach(), await adapters.person()
    monday = Week.of(START, zone).later(1)

    def after(hours: float) -> float:
        return (monday.starts_at - START) / HOUR + hours

    await adapters.in_status(AppointmentStatus.COMPLETED, coach, client, hour=after(0))
    await adapters.appointment(coach, client, hour=after(1))
    await adapters.in_status(AppointmentStatus.CANCELLED, coach, hour=after(2))
    await adapters.in_status(AppointmentStatus.CONFIRMED, coach, hour=after(-1))
    await adapters.appointment(coach, hour=after(7 * 24))
    await adapters.appointment(hour=after(3))  # of another coach
    window = Interval(monday.later(-1).starts_at, monday.later(1).starts_at)
    found = await adapters.statistics.statistics(coach.id, window, zone)
    assert found.weeks == [
        CoachWeek(monday.later(-1).begins_on, bookings=1, booked=HOUR, completed=0, cancelled=0),
        CoachWeek(monday.begins_on, bookings=2, booked=2 * HOUR, completed=1, cancelled=1),
    ]
    assert (found.clients, found.revenue) == (2, {})
    shorter = Interval(monday.starts_at + HOUR, monday.starts_at + 2 * HOUR)
    found = await adapters.statistics.statistics(coach.id, shorter, zone)
    assert [(week.bookings, week.cancelled) for week in found.weeks] == [(1, 0)]


async def test_revenue_is_what_was_received_and_not_refunded_by_currency(adapters: AppointmentAdapters) -> None:
    coach = await adapters.coach()
    paid = [
        await adapters.paid_appointment(coach, hour=hour, price=price)
        for hour, price in ((0, inr(30)), (2, inr(45)), (4, EUROS))
    ]
    await adapters.appointment(coach, hour=6)
    await adapters.paid_appointment(coach, hour=30)
    refunded = await adapters.payment_of(paid[1])
    async with adapters.changing() as work:
        await work.payments.save(refunded.with_refund(inr(5)))
    window = Interval(START, START + DAY)
    found = await adapters.statistics.statistics(coach.id, window, ZoneInfo("UTC"))
    assert found.revenue == {"EUR": EUROS.amount, "INR": inr(70).amount}
