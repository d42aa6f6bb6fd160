"""Paying for a coach's time: online, or on the spot."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from application.appointments.ports import AppointmentQueries, AppointmentView
from application.payments.checkout import OpenCheckout
from application.payments.offline import RecordOfflinePayment
from application.payments.ports.gateways import GatewayRefused
from application.payments.reconciliation import ASKED_AT_ONCE
from domain.accounts import User
from domain.appointments import AppointmentId, AppointmentViewForbidden, OnlyClientPays
from domain.authorization import require_owner
from domain.errors import Unavailable
from domain.ids import AppointmentRef
from domain.payments import UNPAID, NothingToPay


@dataclass(frozen=True, slots=True)
class AppointmentPayment:
    """Where the client of a session pays for it: the same address as before, if there was one. `null` where people pay
    on the spot."""

    open_checkout: OpenCheckout
    reader: AppointmentQueries
    patience: timedelta = timedelta(seconds=5)

    def require_allowed(self, return_url: str | None) -> None:
        """Raises `Invalid`."""
        self.open_checkout.return_urls.require_allowed(return_url)

    async def __call__(self, user: User, appointment_id: AppointmentId, *, return_url: str | None = None) -> str | None:
        self.require_allowed(return_url)
        view = await self.reader.get(appointment_id)
        view.require_participant(user, AppointmentViewForbidden)
        require_owner(user, view.client_id, error=OnlyClientPays)
        await self.open_checkout.keep_return_url([AppointmentRef(appointment_id)], return_url)
        return await self.open_checkout.for_payable(AppointmentRef(appointment_id))

    async def open(
        self, appointments: Sequence[AppointmentView], *, return_url: str | None = None
    ) -> Sequence[str | None]:
        """For each of the sessions that were just booked. None where nothing is to be paid online, and while the
        gateway is away: the bookings stand. A few are asked for at once, and none any more of a gateway that is away or
        that has taken `patience` for those before: whoever waits for their sessions is answered in time."""
        await self.open_checkout.keep_return_url(
            [AppointmentRef(appointment.id) for appointment in appointments], return_url
        )
        hands, away = asyncio.Semaphore(ASKED_AT_ONCE), asyncio.Event()
        patience = asyncio.get_running_loop().call_later(self.patience.total_seconds(), away.set)

        async def ask(appointment: AppointmentView) -> str | None:
            if appointment.payment_status not in UNPAID:
                return None
            async with hands:
                if away.is_set():
                    return None
                try:
                    return await self.open_checkout.for_payable(AppointmentRef(appointment.id))
                except Unavailable:
                    away.set()
                except (GatewayRefused, NothingToPay):
                    pass
                return None

        try:
            return await asyncio.gather(*map(ask, appointments))
        finally:
            patience.cancel()


@dataclass(frozen=True, slots=True)
class RecordAppointmentPayment:
    """The coach, or an admin, has the money for a session. It is recorded once, however often it is said, and confirms
    a session that was pending.

    - A free session has nothing to pay, a cancelled one nothing any more.
    - A checkout that is still open elsewhere is closed, so that nobody pays twice.
    """

    record_offline_payment: RecordOfflinePayment
    reader: AppointmentQueries

    async def __call__(self, user: User, appointment_id: AppointmentId) -> AppointmentView:
        await self.record_offline_payment.by_facilitator(user, AppointmentRef(appointment_id))
        return await self.reader.get(appointment_id)
