"""The books: what was asked for, received and promised back, and what gateways told us."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from application.payments.ports.gateways import GatewayEvent, PaymentRequest
from domain.accounts import UserId
from domain.appointments import Appointment
from domain.events import EventId
from domain.ids import BookingId, PayableRef
from domain.money import Money
from domain.payments import GatewayUpdate, Payment, PaymentId, PaymentStatus, RefundUpdate
from domain.refunds import RefundId


@dataclass(frozen=True, slots=True)
class PaymentTarget:
    """Where a payment belongs."""

    payment_id: PaymentId
    payable: PayableRef


class Payments(Protocol):
    """`get` and `get_for` lock until the unit of work ends, and raise `PaymentNotFound`. Of several payments
    that were asked for one booking, the latest is the booking's."""

    async def find_payable(self, gateway: str, report: GatewayUpdate) -> PaymentTarget | None:
        """By the order, else by our own id: a gateway may report before we know the order's."""
        ...

    async def find_received(self, gateway: str, gateway_id: str) -> PaymentTarget | None:
        """By the id that the gateway gave to the payment when it received it."""
        ...

    async def get(self, payment_id: PaymentId) -> Payment: ...

    async def get_for(self, payable: PayableRef) -> Payment: ...

    async def find_for(self, payable: PayableRef) -> Payment | None: ...

    async def add_for_appointment(self, appointment: Appointment, gateway: str, now: datetime) -> None:
        """The payment that a priced appointment waits for. The reservation of a seat adds its own."""
        ...

    async def save(self, payment: Payment, *, received_at: datetime | None = None) -> None: ...

    async def add_paid_on_the_spot(self, payment: Payment, now: datetime) -> None:
        """The same price received by the facilitator instead: a payment of its own, which is now the booking's."""
        ...

    async def record_mismatch(
        self, gateway: str, report: GatewayUpdate, payment_id: PaymentId | None, why: str
    ) -> None:
        """For an operator to look at. The same difference is kept once."""
        ...


@dataclass(frozen=True, slots=True)
class Refund:
    """Money promised back. `succeeded` is None until the gateway has given it back, or has failed for good."""

    id: RefundId
    payment_id: PaymentId
    payable: PayableRef
    gateway: str
    amount: Money
    reason: str
    succeeded: bool | None

    @property
    def is_open(self) -> bool:
        return self.succeeded is None

    def can_become(self, succeeded: bool | None) -> bool:
        """A bank may send back, weeks later, what a gateway had given to it; what has failed stays so."""
        return self.is_open or (self.succeeded is True and succeeded is False)


class RefundRecords(Protocol):
    async def add(
        self, payment: Payment, amount: Money, *, reason: str, by: UserId | None, now: datetime
    ) -> Refund: ...

    async def add_for_event(self, event_id: EventId, *, reason: str, by: UserId, now: datetime) -> Sequence[Refund]:
        """Promises back, in full, every payment that was received for the event; payments and bookings show it."""
        ...

    async def get(self, refund_id: RefundId) -> Refund:
        """Locked until the unit of work ends. Raises `PaymentNotFound`."""
        ...

    async def find(self, report: RefundUpdate) -> Refund | None:
        """By our id, or by the gateway's."""
        ...

    async def settle(
        self, refund: Refund, gateway_refund_id: str | None, *, succeeded: bool | None, now: datetime
    ) -> None:
        """`succeeded` None: the gateway has accepted it and is still working on it."""
        ...


class GatewayEvents(Protocol):
    """The inbox of webhooks: each is kept once, for good."""

    async def add(self, gateway: str, event: GatewayEvent, now: datetime) -> bool:
        """False for one that is there already."""
        ...

    async def report(self, gateway: str, event_id: str) -> tuple[GatewayUpdate | RefundUpdate | None, datetime]:
        """What it says, and when it arrived."""
        ...

    async def first_arrival(self, gateway: str, order_id: str | None, payment_id: PaymentId) -> datetime | None:
        """When the first webhook arrived that reports money for the order or payment and is not applied yet."""
        ...

    async def settled(self, gateway: str, event_id: str, outcome: str, now: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class PaidFor:
    """What a payment is for, as it stands now."""

    payable: PayableRef
    reference: str
    payment_status: PaymentStatus


@dataclass(frozen=True, slots=True)
class PaymentOverview:
    """A payment and what it is for, as a buyer may see it: nothing in it says who the buyer is.

    `timezone` is the IANA name of the zone in which the buyer reads times, None where it is not known. `payment_status`
    and `is_cancelled` are the booking's. `return_url` is what a request asked for.
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
    """What is asked, at which gateway, and where it is paid, if that is known."""

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


class PaymentQueries(Protocol):
    async def paid_for(self, payment_id: PaymentId) -> PaidFor: ...

    async def overview(self, payment_id: PaymentId) -> PaymentOverview:
        """Raises `PaymentNotFound`."""
        ...

    async def expired_holds(self, now: datetime, *, limit: int) -> Sequence[BookingId]:
        """Bookings whose place was held for a payment that did not come in time."""
        ...

    async def claim_to_look_up(
        self, *, older_than: timedelta, limit: int, apart_from: Collection[str]
    ) -> Sequence[PaymentId]:
        """Payments that are open for longer and due to be asked about, but at none of those gateways; no other worker
        gets them for now."""
        ...

    async def request_of(self, payment_id: PaymentId) -> tuple[PaymentRequest, str]:
        """What was asked for, and at which gateway, whatever became of it. Raises `PaymentNotFound`."""
        ...

    async def open_request(self, payable: PayableRef) -> OpenRequest | None:
        """What is asked for a live, unpaid booking; nothing once its hold has ended."""
        ...
