"""Payment of appointments, online or on site."""

from collections.abc import Sequence
from typing import ClassVar

from application.appointments.ports import AppointmentQueries, AppointmentView
from application.payments.checkout import OpenCheckout
from application.payments.offline import RecordOfflinePayment
from application.payments.ports.gateways import GatewayRefused
from application.use_cases import use_case
from domain.accounts import User
from domain.appointments import (
    AppointmentChangeForbidden,
    AppointmentNotFound,
    AppointmentViewForbidden,
    OnlyClientPays,
    OnlyCoachRecords,
)
from domain.authorization import require_owner
from domain.bookings import BookingIsCancelled
from domain.errors import Errors
from domain.ids import AppointmentId, AppointmentRef
from domain.payments import UNPAID, GatewayUnavailable, NothingToPay


@use_case
class AppointmentPayment:
    """Returns the address where the client pays for a session: the same address as before, if there is one. `null` if
    the operator accepts payments on site only."""

    raises: ClassVar[Errors] = (
        AppointmentNotFound,
        AppointmentViewForbidden,
        OnlyClientPays,
        NothingToPay,
        GatewayRefused,
        GatewayUnavailable,
    )

    open_checkout: OpenCheckout
    reader: AppointmentQueries

    def require_allowed(self, return_url: str | None) -> None:
        """Raises `Invalid`."""
        self.open_checkout.return_urls.require_allowed(return_url)

    async def __call__(self, user: User, appointment_id: AppointmentId, *, return_url: str | None = None) -> str | None:
        self.require_allowed(return_url)
        view = await self.reader.get(appointment_id)
        view.require_participant(user, AppointmentViewForbidden)
        require_owner(user, view.client_id, error=OnlyClientPays)
        await self.open_checkout.save_return_url([AppointmentRef(appointment_id)], return_url)
        return await self.open_checkout.for_payable(AppointmentRef(appointment_id))

    async def open(
        self, appointments: Sequence[AppointmentView], *, return_url: str | None = None
    ) -> Sequence[str | None]:
        """Opens the checkouts of new appointments. Returns the address of each one that has a checkout."""
        refs = [AppointmentRef(each.id) for each in appointments]
        unpaid = [ref for ref, each in zip(refs, appointments, strict=True) if each.payment_status in UNPAID]
        urls = await self.open_checkout.for_new(unpaid, return_url=return_url)
        return [urls.get(ref) for ref in refs]


@use_case
class RecordAppointmentPayment:
    """Records that the coach has received the payment for a session on site; the coach and admins report it. It
    confirms a pending session. A repeated report records nothing more.

    - Free and cancelled sessions are rejected: there is nothing to pay.
    - An open checkout at a gateway is closed, so that the session cannot be paid twice.
    """

    raises: ClassVar[Errors] = (AppointmentNotFound, AppointmentChangeForbidden, OnlyCoachRecords, BookingIsCancelled)

    record_offline_payment: RecordOfflinePayment
    reader: AppointmentQueries

    async def __call__(self, user: User, appointment_id: AppointmentId) -> AppointmentView:
        await self.record_offline_payment.by_facilitator(user, AppointmentRef(appointment_id))
        return await self.reader.get(appointment_id)
