"""Paying for a coach's time: online, or on the spot."""

from collections.abc import Sequence
from dataclasses import dataclass

from application.appointments.ports import AppointmentQueries, AppointmentView
from application.payments.checkout import OpenCheckout
from application.payments.offline import RecordOfflinePayment
from domain.accounts import User
from domain.appointments import AppointmentViewForbidden, OnlyClientPays
from domain.authorization import require_owner
from domain.ids import AppointmentId, AppointmentRef
from domain.payments import UNPAID


@dataclass(frozen=True, slots=True)
class AppointmentPayment:
    """Where the client of a session pays for it: the same address as before, if there was one. `null` where people pay
    on the spot."""

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
        """Opens the checkouts of appointments that were just booked. Returns for each its address, if there is one."""
        refs = [AppointmentRef(each.id) for each in appointments]
        unpaid = [ref for ref, each in zip(refs, appointments, strict=True) if each.payment_status in UNPAID]
        urls = await self.open_checkout.for_new(unpaid, return_url=return_url)
        return [urls.get(ref) for ref in refs]


@dataclass(frozen=True, slots=True)
class RecordAppointmentPayment:
    """The coach, or an admin, has the money for a session. It is recorded once, however often it is said, and confirms
    a session that was pending.

    - A free session has nothing to pay, a cancelled one nothing any more.
    - A checkout that is still open elsewhere is closed, so that nothing is paid twice.
    """

    record_offline_payment: RecordOfflinePayment
    reader: AppointmentQueries

    async def __call__(self, user: User, appointment_id: AppointmentId) -> AppointmentView:
        await self.record_offline_payment.by_facilitator(user, AppointmentRef(appointment_id))
        return await self.reader.get(appointment_id)
