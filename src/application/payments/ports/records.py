"""Records of payments, refunds and webhooks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from application.payments.ports.gateways import GatewayEvent, PaymentRequest
from domain.accounts import UserId
from domain.appointments import Appointment
from domain.disputes import Dispute
from domain.ids import BookingId, PayableRef
from domain.money import Money
from domain.payments import DisputeUpdate, GatewayUpdate, Payment, PaymentId, PaymentStatus, RefundUpdate
from domain.refunds import RefundId


@dataclass(frozen=True, slots=True)
class PaymentTarget:
    """A payment and what it pays for."""

    payment_id: PaymentId
    payable: PayableRef


StoredUpdate = GatewayUpdate | RefundUpdate | DisputeUpdate
"""The normalised content of a stored webhook."""


class Payments(Protocol):
    """`get` and `get_for` lock the row until the unit of work ends, and raise `PaymentNotFound`. Where a booking has
    several payments, `get_for` and `find_for` return the latest."""

    async def find_payable(self, gateway: str, report: GatewayUpdate) -> PaymentTarget | None:
        """Finds a payment by its order, else by our id: an update may arrive before the order's id is stored."""
        ...

    async def find_received(self, gateway: str, gateway_id: str) -> PaymentTarget | None:
        """Finds a received payment by the gateway's id of it."""
        ...

    async def get(self, payment_id: PaymentId) -> Payment: ...

    async def get_for(self, payable: PayableRef) -> Payment: ...

    async def find_for(self, payable: PayableRef) -> Payment | None: ...

    async def add_for_appointments(self, appointments: Sequence[Appointment], gateway: str, now: datetime) -> None:
        """The payments that priced appointments wait for. The reservation of a seat adds its own."""
        ...

    async def save(self, payment: Payment, *, received_at: datetime | None = None) -> None: ...

    async def add_paid_on_the_spot(self, payment: Payment, now: datetime) -> None:
        """Adds a payment of the same price that the facilitator received. It becomes the latest of the booking."""
        ...

    async def record_mismatch(
        self, gateway: str, report: GatewayUpdate, payment_id: PaymentId | None, why: str
    ) -> None:
        """Stores a mismatch for an operator. The same mismatch is stored once."""
        ...


@dataclass(frozen=True, slots=True)
class Refund:
    """A requested refund. `succeeded` is None until the gateway has processed it or has failed finally. `ended_by`: the
    id of the dispute that returned the money instead; such a refund counts as failed and is not to be made."""

    id: RefundId
    payment_id: PaymentId
    payable: PayableRef
    gateway: str
    amount: Money
    reason: str
    succeeded: bool | None
    gateway_refund_id: str | None = None
    ended_by: str | None = None

    @property
    def is_open(self) -> bool:
        return self.succeeded is None

    def can_become(self, succeeded: bool | None) -> bool:
        """A processed refund can fail weeks later, when the bank returns it. A failed refund stays failed."""
        return self.is_open or (self.succeeded is True and succeeded is False)


class RefundRecords(Protocol):
    @property
    def requested(self) -> Sequence[Refund]:
        """Refunds that this unit of work has requested, those of a cancelled event included."""
        ...

    async def add(self, payment: Payment, amount: Money, *, reason: str, by: UserId | None, now: datetime) -> Refund:
        """Adds a requested refund, and enqueues the job that sends it to the gateway, unless the refunds of the payment
        wait for a dispute."""
        ...

    async def add_processed(
        self, payment: Payment, amount: Money, gateway_refund_id: str | None, *, reason: str, now: datetime
    ) -> Refund:
        """Adds a refund that the gateway has processed without a request of ours."""
        ...

    async def get(self, refund_id: RefundId) -> Refund:
        """Locks the row until the unit of work ends. Raises `PaymentNotFound`."""
        ...

    async def find(self, report: RefundUpdate) -> Refund | None:
        """Finds a refund by our id, or by the gateway's."""
        ...

    async def settle(
        self, refund: Refund, gateway_refund_id: str | None, *, succeeded: bool | None, now: datetime
    ) -> None:
        """`succeeded` is None while the gateway has accepted the refund and is still processing it."""
        ...

    async def waiting(self, payment_id: PaymentId) -> Sequence[Refund]:
        """Locks and returns the requested refunds of the payment that the gateway has not accepted, oldest first."""
        ...

    async def release(self, refunds: Sequence[Refund]) -> None:
        """Enqueues the jobs that send refunds to the gateway which have waited for a dispute."""
        ...

    async def end_by_dispute(self, refund: Refund, dispute_id: str, now: datetime) -> None:
        """Ends a refund that is not made, because the dispute has returned the money."""
        ...


class Disputes(Protocol):
    """Disputes of payments. The payment must be locked."""

    async def of(self, payment_id: PaymentId) -> Sequence[Dispute]:
        """Returns the oldest first."""
        ...

    async def save(self, payment: Payment, dispute: Dispute, now: datetime) -> None:
        """Adds a dispute, or stores its new state."""
        ...


class GatewayEvents(Protocol):
    """The webhook inbox: each webhook is stored once and never deleted."""

    async def add(self, gateway: str, event: GatewayEvent, now: datetime) -> bool:
        """Returns False for a webhook that is already stored."""
        ...

    async def report(self, gateway: str, event_id: str) -> tuple[StoredUpdate | None, datetime]:
        """Returns the update in the webhook, and when the webhook arrived."""
        ...

    async def first_arrival(self, gateway: str, order_id: str | None, payment_id: PaymentId) -> datetime | None:
        """Returns when the first webhook arrived that reports the payment as received and is not applied yet."""
        ...

    async def lock_payment(self, gateway: str, gateway_id: str) -> None:
        """Until the unit of work ends, no other one receives this payment or looks for what waits for it."""
        ...

    async def waiting_for(self, gateway: str, gateway_id: str) -> Sequence[str]:
        """Returns the ids of stored webhooks about disputes of this payment that are not applied yet."""
        ...

    async def record_result(self, gateway: str, event_id: str, outcome: str, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class PaidFor:
    """The current state of what a payment pays for."""

    payable: PayableRef
    reference: str
    payment_status: PaymentStatus


@dataclass(frozen=True, slots=True)
class PaymentOverview:
    """A payment and what it pays for, without anything that identifies the buyer.

    `timezone` is the IANA name of the zone in which the buyer reads times, None where it is not known. `payment_status`
    and `is_cancelled` are the booking's. `return_url` is the address given when booking.
    """

    payment_id: PaymentId
    gateway: str
    reference: str
    title: str
    starts_at: datetime
    ends_at: datetime
    timezone: str | None
    price: Money
    is_cancelled: bool
    payment_status: PaymentStatus
    hold_until: datetime | None
    checkout_url: str | None
    return_url: str | None


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """What is to be paid, at which gateway, and the checkout's address if it is known."""

    request: PaymentRequest
    gateway: str
    url: str | None


class Checkouts(Protocol):
    async def save(self, payment_id: PaymentId, order_id: str, url: str) -> None:
        """Stores the gateway's order of the payment, and the address where it is paid."""
        ...

    async def save_return_url(self, payables: Sequence[PayableRef], return_url: str) -> None:
        """Stores where the buyer goes after the checkout of each of them."""
        ...

    async def claim_to_look_up(
        self, *, older_than: timedelta, limit: int, apart_from: Collection[str]
    ) -> Sequence[PaymentId]:
        """Claims payments that are open for longer and due for a look-up, except those at the gateways `apart_from`. No
        other worker gets them for now."""
        ...


class PaymentQueries(Protocol):
    async def paid_for(self, payment_id: PaymentId) -> PaidFor: ...

    async def overview(self, payment_id: PaymentId) -> PaymentOverview:
        """Raises `PaymentNotFound`."""
        ...

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[BookingId]:
        """Returns bookings whose hold has expired without a payment."""
        ...

    async def request_of(self, payment_id: PaymentId) -> tuple[PaymentRequest, str]:
        """Returns the request and its gateway, in every state of the payment. Raises `PaymentNotFound`."""
        ...

    async def client_of(self, payable: PayableRef) -> UserId:
        """Returns the client of a booking or an appointment in every state. Raises `BookingNotFound`,
        `AppointmentNotFound`."""
        ...

    async def open_request(self, payable: PayableRef) -> OpenRequest | None:
        """Returns what is to be paid for a live, unpaid booking; None once its hold has expired."""
        ...
