"""`EMAIL_VERIFICATION=required`: bookings need a verified address."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.accounts import User
from domain.unverified_mail import AddressNotVerified, EmailVerification
from tests.application.appointment_application import AppointmentApplication, at

HOUR = timedelta(hours=1)


class Application(AppointmentApplication):
    """All accounts are unverified."""

    def require(self) -> None:
        required = EmailVerification.REQUIRED
        self.book_seat = replace(self.book_seat, verification=required)
        self.reserve = replace(self.reserve, verification=required)
        self.book_appointment = replace(self.book_appointment, reserve=self.reserve)
        self.book_series = replace(self.book_series, reserve=self.reserve)
        self.reschedule = replace(self.reschedule, verification=required)

    def verified(self, user: User) -> User:
        return replace(user, is_verified=True)


@pytest.fixture
def app() -> Application:
    return Application()


async def test_seat_needs_a_verified_address(app: Application) -> None:
    event, person = await app.event(), await app.person()
    app.require()
    with pytest.raises(AddressNotVerified):
        await app.book(event, person)
    assert app.bookings_of(event) == []
    await app.book(event, app.verified(person))


async def test_appointment_and_series_need_a_verified_address(app: Application) -> None:
    coach, client = await app.coach(), await app.person()
    app.require()
    with pytest.raises(AddressNotVerified):
        await app.booked(coach, client)
    with pytest.raises(AddressNotVerified):
        await app.series(coach, client)
    assert app.busy_times.coaches == [], "no calendar is read for it"
    await app.booked(coach, app.verified(client))


async def test_client_who_moves_an_appointment_needs_a_verified_address(app: Application) -> None:
    appointment_id = await app.appointment()
    client, coach = app.client_of(appointment_id), app.coach_of(appointment_id)
    app.require()
    with pytest.raises(AddressNotVerified):
        await app.reschedule(client, appointment_id, at(14), None)
    await app.reschedule(coach, appointment_id, at(14), None)
    await app.reschedule(app.verified(client), appointment_id, at(16), None)


async def test_by_default_bookings_need_no_verified_address(app: Application) -> None:
    person = await app.person()
    assert not person.is_verified
    await app.book(await app.event(), person)
    await app.booked(await app.coach(), person)
