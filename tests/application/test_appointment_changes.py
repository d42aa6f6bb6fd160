"""Rules of cancelling appointments, of their status and notes, and of who may change them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.accounts import User
from domain.appointments import (
    TRANSITIONS,
    AppointmentCancelReason,
    AppointmentChange,
    AppointmentChangeForbidden,
    AppointmentNotFound,
    AppointmentStatus,
    InvalidTransition,
    NotCancellable,
    OnlyCoachDecides,
    PaymentConfirms,
)
from domain.bookings import MAX_NOTES
from domain.errors import Invalid
from domain.ids import AppointmentId
from domain.outbox import Destination, MessageType
from domain.payments import OFFLINE
from domain.refunds import RefundPolicy
from tests.application.appointment_application import AppointmentApplication, at
from tests.application.booking_application import DAY, delivered, inr

APPLICATION = AppointmentApplication

PENDING, CONFIRMED, COMPLETED, CANCELLED = AppointmentStatus
PAIRS = [(before, after) for before in AppointmentStatus for after in AppointmentStatus]
UNKNOWN = AppointmentId(UUID(int=9))


# Cancellation


@pytest.mark.parametrize("status", [PENDING, CONFIRMED])
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("client", AppointmentCancelReason.BY_PERSON),
        ("coach", AppointmentCancelReason.BY_COACH),
        ("admin", AppointmentCancelReason.BY_ORGANISER),
    ],
)
async def test_time_of_a_cancelled_session_can_be_booked_again(
    app: AppointmentApplication, status: AppointmentStatus, who: str, reason: AppointmentCancelReason
) -> None:
    appointment_id = await app.in_status(status)
    user = (await app.participants(appointment_id))[who]
    await app.cancel(user, appointment_id)
    stored = app.stored(appointment_id)
    assert (stored.status, stored.cancel_reason, stored.cancelled_at) == (CANCELLED, reason, app.clock.now())
    assert (await app.changes(appointment_id))[-1] == (AppointmentChange.CANCELLED, user.id)
    assert {row.payload["reason"] for row in app.messages(MessageType.BOOKING_CANCELLED)} == {reason}
    await app.booked(app.coach_of(appointment_id))


@pytest.mark.parametrize("status", [COMPLETED, CANCELLED])
async def test_ended_session_cannot_be_cancelled(app: AppointmentApplication, status: AppointmentStatus) -> None:
    appointment_id = await app.in_status(status)
    for user in (await app.participants(appointment_id)).values():
        with pytest.raises(NotCancellable):
            await app.cancel(user, appointment_id)


@pytest.mark.parametrize(("who", "refund"), [("client", inr("16.50")), ("coach", inr(30)), ("admin", inr(30))])
async def test_refund_follows_the_policy_and_is_full_when_the_coach_or_an_admin_cancels(
    app: AppointmentApplication, who: str, refund: Any
) -> None:
    appointment_id = await app.paid_appointment(await app.coach(refund_policy=RefundPolicy.of([(24, 55), (0, 0)])))
    user = (await app.participants(appointment_id))[who]
    await app.cancel(user, appointment_id)
    assert app.refunded() == [(refund, MessageType.BOOKING_CANCELLED)]
    assert app.stored_refunds()[0].requested_by == user.id
    assert app.states(appointment_id) == ["cancelled, refunded"]
    assert delivered(await app.work())
    assert len(app.messages(MessageType.BOOKING_REFUNDED)) == 4


async def test_cancellation_after_the_last_tier_refunds_nothing(app: AppointmentApplication) -> None:
    appointment_id = await app.paid_appointment(await app.coach(refund_policy=RefundPolicy.of([(24, 55)])))
    app.clock.moment = at(10) - DAY + timedelta(seconds=1)
    await app.cancel(app.client_of(appointment_id), appointment_id)
    assert app.refunded() == []
    assert app.states(appointment_id) == ["cancelled, completed"]
    assert app.messages(MessageType.CHECKOUT_ENDED) == []


async def test_open_checkout_of_a_cancelled_session_is_closed(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    payment = app.payment_of(appointment_id)
    await app.cancel(app.client_of(appointment_id), appointment_id)
    assert app.sent(MessageType.CHECKOUT_ENDED) == [(f"payment:{payment.id}", Destination.PAYMENTS)]
    assert delivered(await app.work())
    assert app.gateway.orders[payment.id].is_closed


async def test_checkout_that_was_never_opened_is_not_closed() -> None:
    app = AppointmentApplication(gateway=OFFLINE)
    appointment_id = await app.appointment()
    await app.cancel(app.client_of(appointment_id), appointment_id)
    assert app.messages(MessageType.CHECKOUT_ENDED) == []
    assert app.states(appointment_id) == ["cancelled, pending"]


async def test_declined_payment_leaves_a_checkout_to_close(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    await app.settle("gateway", app.gateway.decline(app.payment_of(appointment_id).id))
    assert app.states(appointment_id) == ["pending, failed"]
    await app.cancel(app.client_of(appointment_id), appointment_id)
    assert len(app.messages(MessageType.CHECKOUT_ENDED)) == 1


# Status


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=str)
@pytest.mark.parametrize("who", ["coach", "admin"])
async def test_coach_and_admin_make_the_documented_transitions_only(
    app: AppointmentApplication, before: AppointmentStatus, after: AppointmentStatus, who: str
) -> None:
    documented = {(PENDING, CONFIRMED), (PENDING, CANCELLED), (CONFIRMED, COMPLETED), (CONFIRMED, CANCELLED)}
    assert {(old, new) for old, new in PAIRS if new in TRANSITIONS[old]} == documented
    appointment_id = await app.in_status(before)
    user = (await app.participants(appointment_id))[who]
    if (before, after) in documented:
        assert (await app.change_status(user, appointment_id, after)).status is after
        assert app.stored(appointment_id).status is after
        assert (await app.changes(appointment_id))[-1] == (AppointmentChange(after), user.id)
        return
    with pytest.raises(InvalidTransition, match=f"Cannot change status from {before} to {after}"):
        await app.change_status(user, appointment_id, after)
    assert app.stored(appointment_id).status is before


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=str)
async def test_client_can_only_cancel(
    app: AppointmentApplication, before: AppointmentStatus, after: AppointmentStatus
) -> None:
    appointment_id = await app.in_status(before)
    client = app.client_of(appointment_id)
    if after not in TRANSITIONS[before]:
        with pytest.raises(InvalidTransition):
            await app.change_status(client, appointment_id, after)
    elif after is CANCELLED:
        view = await app.change_status(client, appointment_id, after)
        assert view.status is CANCELLED
        assert app.stored(appointment_id).cancel_reason is AppointmentCancelReason.BY_PERSON
    else:
        with pytest.raises(OnlyCoachDecides):
            await app.change_status(client, appointment_id, after)
        assert app.stored(appointment_id).status is before


async def test_session_paid_at_a_gateway_is_confirmed_by_its_payment_only(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment()
    for user in (app.coach_of(appointment_id), await app.admin()):
        with pytest.raises(PaymentConfirms):
            await app.change_status(user, appointment_id, CONFIRMED)
    await app.receive(appointment_id)
    assert app.states(appointment_id) == ["confirmed, completed"]


async def test_session_paid_on_site_is_confirmed_by_the_coach() -> None:
    app = AppointmentApplication(gateway=OFFLINE)
    appointment_id = await app.appointment()
    await app.change_status(app.coach_of(appointment_id), appointment_id, CONFIRMED)
    assert app.states(appointment_id) == ["confirmed, pending"]


async def test_cancellation_by_status_refunds(app: AppointmentApplication) -> None:
    appointment_id = await app.paid_appointment()
    await app.change_status(app.coach_of(appointment_id), appointment_id, CANCELLED)
    assert app.refunded() == [(inr(30), MessageType.BOOKING_CANCELLED)]


# Notes


async def test_client_and_coach_share_the_notes_and_the_history_stores_earlier_versions(
    app: AppointmentApplication,
) -> None:
    appointment_id = await app.appointment(notes="About my work")
    client, coach = app.client_of(appointment_id), app.coach_of(appointment_id)
    for user, notes in ((coach, "Bring your plan\n– John"), (client, ""), (await app.admin(), None)):
        view = await app.update_notes(user, appointment_id, notes)
        assert view.notes == app.stored(appointment_id).notes == notes
    history = (await app.history(appointment_id))[1:]
    assert [each.before for each in history] == [
        {"notes": notes} for notes in ("About my work", "Bring your plan\n– John", "")
    ]
    assert {each.change for each in history} == {AppointmentChange.NOTES_CHANGED}


async def test_notes_that_stay_the_same_are_no_change(app: AppointmentApplication) -> None:
    appointment_id = await app.appointment(notes="Kept")
    before = app.store.tables
    await app.update_notes(app.client_of(appointment_id), appointment_id, "Kept")
    assert app.store.tables == before


@pytest.mark.parametrize("status", [COMPLETED, CANCELLED])
async def test_notes_can_be_changed_after_a_session(app: AppointmentApplication, status: AppointmentStatus) -> None:
    appointment_id = await app.in_status(status)
    view = await app.update_notes(app.coach_of(appointment_id), appointment_id, "Next time: goals")
    assert (view.notes, view.status) == ("Next time: goals", status)


@pytest.mark.parametrize("notes", ["n" * (MAX_NOTES + 1), "\x07"])
async def test_invalid_notes_are_refused(app: AppointmentApplication, notes: str) -> None:
    appointment_id = await app.appointment(notes="Kept")
    with pytest.raises(Invalid):
        await app.update_notes(app.client_of(appointment_id), appointment_id, notes)
    assert app.stored(appointment_id).notes == "Kept"


# Who may


CHANGES: dict[str, Callable[[AppointmentApplication, User, AppointmentId], Any]] = {
    "reschedule": lambda app, user, appointment_id: app.reschedule(user, appointment_id, at(14), None),
    "cancel": lambda app, user, appointment_id: app.cancel(user, appointment_id),
    "change_status": lambda app, user, appointment_id: app.change_status(user, appointment_id, CANCELLED),
    "update_notes": lambda app, user, appointment_id: app.update_notes(user, appointment_id, "Mine"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_only_participants_and_admins_change_a_session(app: AppointmentApplication, change: str) -> None:
    appointment_id = await app.in_status(PENDING)
    before = app.stored(appointment_id)
    for stranger in (await app.person(), await app.free_coach()):
        with pytest.raises(AppointmentChangeForbidden):
            await CHANGES[change](app, stranger, appointment_id)
    assert app.stored(appointment_id) == before
    for who in ("client", "coach", "admin"):
        appointment_id = await app.in_status(PENDING)
        await CHANGES[change](app, (await app.participants(appointment_id))[who], appointment_id)
        assert app.stored(appointment_id) != before


@pytest.mark.parametrize("change", CHANGES)
async def test_unknown_session_is_not_found(app: AppointmentApplication, change: str) -> None:
    with pytest.raises(AppointmentNotFound):
        await CHANGES[change](app, await app.admin(), UNKNOWN)
