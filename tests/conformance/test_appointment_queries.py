"""Queries about appointments and their payments, in memory and in PostgreSQL."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from application.ports import PageRequest
from domain.appointments import (
    AppointmentNotFound,
    AppointmentStatus,
    SeriesId,
)
from domain.errors import Invalid
from domain.ids import AppointmentId, AppointmentRef
from domain.payments import OFFLINE, PaymentStatus
from tests.conformance.appointment_adapters import (
    START,
    AppointmentAdapters,
    cancelled,
    completed,
    confirmed,
    expired,
    moved,
    of_kind,
)
from tests.conformance.booking_adapters import ALL, GATEWAY, HOLD, HOUR, NOW, inr

PENDING, CONFIRMED, COMPLETED, CANCELLED = AppointmentStatus
UNKNOWN = AppointmentId(UUID(int=2**127))


@pytest.fixture(params=["memory", "postgres"])
def adapters(request: pytest.FixtureRequest) -> AppointmentAdapters:
    return of_kind(request)


async def test_appointment_is_shown_with_its_people_and_its_received_payment(adapters: AppointmentAdapters) -> None:
    coach, client, series_id = await adapters.coach(), await adapters.person(), SeriesId(uuid4())
    appointment = await adapters.appointment(coach, client, series_id=series_id)
    view = await adapters.appointments.get(appointment.id)
    assert (view.client_id, view.client_uuid, view.client_name, view.client_email) == (
        client.id,
        client.uuid,
        client.name,
        client.email,
    )
    assert (view.coach_id, view.coach_uuid, view.coach_name, view.coach_email) == (
        coach.id,
        coach.uuid,
        coach.name,
        coach.email,
    )
    for field in ("session", "status", "payment_status", "price", "notes", "meeting_link", "sequence", "hold_until"):
        assert getattr(view, field) == getattr(appointment, field)
    assert (view.series_id, view.created_at, view.updated_at, view.payment_id) == (series_id, NOW, NOW, None)


async def test_shown_payment_is_the_last_one_received(adapters: AppointmentAdapters) -> None:
    appointment = await adapters.paid_appointment()
    payment = await adapters.payment_of(appointment)
    assert (await adapters.appointments.get(appointment.id)).payment_id == payment.id
    async with adapters.changing() as work:
        await work.payments.add_paid_on_the_spot(payment, NOW + HOUR)
    latest = await adapters.payment_of(appointment)
    assert (latest.gateway, latest.payable) == (OFFLINE, AppointmentRef(appointment.id))
    assert (await adapters.appointments.get(appointment.id)).payment_id == latest.id


async def test_given_appointments_are_listed_earliest_first(adapters: AppointmentAdapters) -> None:
    coach = await adapters.coach()
    later, earlier = await adapters.appointment(coach, hour=4), await adapters.appointment(coach)
    views = await adapters.appointments.list([later.id, earlier.id])
    assert [view.id for view in views] == [earlier.id, later.id]


async def test_lists_have_the_latest_session_first_in_pages(adapters: AppointmentAdapters) -> None:
    coach, client = await adapters.coach(), await adapters.person()
    added = [await adapters.in_status(CONFIRMED, coach, client, hour=hour) for hour in (2, 0, 4)]
    await adapters.in_status(CANCELLED, coach, hour=6)
    ids = [added[2].id, added[0].id, added[1].id]
    queries = adapters.appointments
    first = await queries.list_of_client(client.uuid, status=None, skip=0, page=PageRequest(limit=2))
    rest = await queries.list_of_client(client.uuid, status=None, skip=0, page=PageRequest(limit=2, after=first.next))
    assert [each.id for each in (*first.items, *rest.items)] == ids
    assert (first.total, rest.total, rest.next) == (3, 3, None)
    skipped = await queries.list_of_client(client.uuid, status=None, skip=1, page=PageRequest(limit=1))
    assert ([each.id for each in skipped.items], skipped.total) == (ids[1:2], 3)
    assert skipped.next is not None
    of_coach = await queries.list_of_coach(coach.uuid, status=None, skip=0, page=ALL)
    assert (len(of_coach.items), of_coach.total, of_coach.next) == (4, 4, None)
    of_coach = await queries.list_of_coach(coach.uuid, status=CONFIRMED, skip=0, page=ALL)
    assert ([each.id for each in of_coach.items], of_coach.total) == (ids, 3)
    empty = await queries.list_of_client(coach.uuid, status=None, skip=0, page=ALL)
    assert (empty.items, empty.total, empty.next) == ([], 0, None)


async def test_unknown_cursors_are_refused(adapters: AppointmentAdapters) -> None:
    appointment, page = await adapters.appointment(), PageRequest(after="nonsense")
    with pytest.raises(Invalid):
        await adapters.appointments.list_of_client(UNKNOWN, status=None, skip=0, page=page)
    with pytest.raises(Invalid):
        await adapters.appointments.history(appointment.id, page)


async def test_history_has_the_changed_fields_in_pages(adapters: AppointmentAdapters) -> None:
    coach, client = await adapters.coach(), await adapters.person()
    appointment = await adapters.changed(
        await adapters.appointment(coach, client, price=inr(0), hold_until=None),
        confirmed,
        moved(2),
        lambda each: each.with_notes("More", NOW + HOUR, by=each.coach_id),
        expired,
    )
    first = await adapters.appointments.history(appointment.id, PageRequest(limit=3))
    rest = await adapters.appointments.history(appointment.id, PageRequest(limit=3, after=first.next))
    created, confirmation, move, notes, end = [*first.items, *rest.items]
    assert rest.next is None
    assert created.before is None
    assert (created.after["status"], created.after["starts_at"]) == ("pending", START.isoformat())
    assert (confirmation.before, confirmation.after) == ({"status": "pending"}, {"status": "confirmed"})
    assert (confirmation.by_uuid, confirmation.by_name) == (coach.uuid, coach.name)
    assert move.before == {"starts_at": START.isoformat(), "ends_at": (START + HOUR).isoformat()}
    assert (notes.before, notes.after, notes.changed_at) == ({"notes": "A note"}, {"notes": "More"}, NOW + HOUR)
    assert end.after == {"status": "cancelled", "cancel_reason": "payment_expired"}
    assert (end.by_uuid, end.by_name) == (None, None)


async def test_expired_holds_are_those_of_pending_unpaid_appointments(adapters: AppointmentAdapters) -> None:
    coach = await adapters.coach()
    later = await adapters.appointment(coach, hold_until=NOW + 2 * HOUR)
    sooner = await adapters.appointment(coach, hour=2, hold_until=NOW + HOUR)
    failed = await adapters.changed(
        await adapters.appointment(coach, hour=4, hold_until=NOW + 3 * HOUR),
        lambda each: each.payment_failed(NOW, inr(30)),
    )
    await adapters.appointment(coach, hour=6, hold_until=NOW + 3 * HOUR + timedelta(seconds=1))
    others = [
        await adapters.appointment(coach, hour=8, hold_until=None),
        await adapters.paid_appointment(coach, hour=10, hold_until=NOW),
        await adapters.changed(await adapters.appointment(coach, hour=12, hold_until=NOW), expired),
    ]
    due = await adapters.appointments.expired_holds(NOW + 3 * HOUR, limit=10_000)
    own = {each.id for each in (later, sooner, failed, *others)}
    assert [each for each in due if each in own] == [sooner.id, later.id, failed.id]
    assert len(await adapters.appointments.expired_holds(NOW + 3 * HOUR, limit=2)) == 2


# Payments


async def test_payments_are_added_for_appointments(adapters: AppointmentAdapters) -> None:
    coach = await adapters.coach()
    wanted = [await adapters.wanted(coach, hour=hour, price=inr(price)) for hour, price in ((0, 30), (2, 45))]
    for appointment in await adapters.added(*wanted):
        assert appointment is not None
        payment = await adapters.payment_of(appointment)
        assert (payment.payable, payment.price) == (AppointmentRef(appointment.id), appointment.price)
        assert (payment.gateway, payment.status, payment.order_id) == (GATEWAY, PaymentStatus.PENDING, None)


async def test_payment_shows_the_appointment_that_it_pays_for(adapters: AppointmentAdapters) -> None:
    coach, client = await adapters.coach(), await adapters.person()
    appointment = await adapters.appointment(coach, client)
    payment = await adapters.payment_of(appointment)
    await adapters.checkouts.save(payment.id, f"order {payment.id}", "https://gateway.example/1")
    await adapters.checkouts.save_return_url([payment.payable], "https://front-end.example/")
    request, gateway = await adapters.payments.request_of(payment.id)
    assert (request.reference, request.title) == (str(appointment.id), f"Coaching with {coach.name}")
    assert (request.event_id, request.facilitator_id, request.user_id) == (None, coach.id, client.id)
    assert (request.price, request.until, gateway) == (inr(30), NOW + HOLD, GATEWAY)
    opened = await adapters.payments.open_request(payment.payable)
    assert opened is not None
    assert (opened.request, opened.gateway, opened.url) == (request, GATEWAY, "https://gateway.example/1")
    paid_for = await adapters.payments.paid_for(payment.id)
    assert (paid_for.payable, paid_for.reference, paid_for.payment_status) == (
        payment.payable,
        str(appointment.id),
        PaymentStatus.PENDING,
    )
    overview = await adapters.payments.overview(payment.id)
    assert (overview.title, overview.starts_at, overview.ends_at) == (request.title, START, START + HOUR)
    assert (overview.is_cancelled, overview.hold_until) == (False, NOW + HOLD)
    assert (overview.checkout_url, overview.return_url) == ("https://gateway.example/1", "https://front-end.example/")
    await adapters.changed(appointment, cancelled)
    assert (await adapters.payments.overview(payment.id)).is_cancelled
    assert (await adapters.audit.get(payment.id)).reference == str(appointment.id)


async def test_paid_cancelled_and_expired_appointments_have_no_open_request(adapters: AppointmentAdapters) -> None:
    paid, gone = await adapters.paid_appointment(), await adapters.changed(await adapters.appointment(), cancelled)
    late = await adapters.appointment(hold_until=NOW - HOUR)
    left = await adapters.appointment()
    async with adapters.changing() as work:
        await work.users.save(replace(await work.users.get_locked(left.coach_id), is_active=False))
    for appointment in (paid, gone, late, left):
        assert await adapters.payments.open_request(AppointmentRef(appointment.id)) is None
        assert await adapters.payments.client_of(AppointmentRef(appointment.id)) == appointment.client_id
    with pytest.raises(AppointmentNotFound):
        await adapters.payments.client_of(AppointmentRef(UNKNOWN))
    on_site = await adapters.appointment(hold_until=None)
    on_site = await adapters.changed(on_site, confirmed)
    assert await adapters.payments.open_request(AppointmentRef(on_site.id)) is not None
    await adapters.changed(on_site, completed)
    assert await adapters.payments.open_request(AppointmentRef(on_site.id)) is None
