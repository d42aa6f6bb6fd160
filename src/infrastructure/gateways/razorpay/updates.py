"""Razorpay's entities, and the updates that follow from its payments and webhooks.

Receipts and notes of orders and links are trusted, since only we write them. The notes of a payment can be written by
the payer, so they are not used: a payment belongs to its order.
"""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from domain.disputes import Dispute, DisputeStatus
from domain.money import Money
from domain.payments import DisputeUpdate, GatewayUpdate, Payment, PaymentId, PaymentUpdate, RefundUpdate

T = TypeVar("T")

RECEIVED = frozenset({"captured", "refunded"})
_WAITING = frozenset({"created", "authorized"})
INQUIRIES = frozenset({"fraud", "retrieval"})
"""Phases of a dispute in which the bank only inquires: no money is withdrawn, and the payment can be refunded."""
_DISPUTES = {
    "open": DisputeStatus.OPEN,
    "under_review": DisputeStatus.OPEN,
    "won": DisputeStatus.WON,
    # The bank had its answer, or the seller made a refund, which has its own events.
    "closed": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}


class PaymentEntity(msgspec.Struct, frozen=True):
    id: str
    status: str = ""
    amount: int = 0
    currency: str = ""
    order_id: str | None = None
    amount_refunded: int | None = 0
    created_at: int = 0
    notes: Any = None

    @property
    def money(self) -> Money:
        """The amount of the payment. Raises `Invalid` for an unknown currency."""
        return Money.from_minor_units(self.amount, self.currency)


class OrderEntity(msgspec.Struct, frozen=True):
    id: str
    receipt: str | None = None
    notes: Any = None


class LinkEntity(msgspec.Struct, frozen=True):
    id: str
    status: str = ""
    short_url: str = ""
    reference_id: str | None = None
    notes: Any = None


class RefundEntity(msgspec.Struct, frozen=True):
    id: str
    payment_id: str
    status: str
    amount: int
    currency: str
    notes: Any = None


class DisputeEntity(msgspec.Struct, frozen=True):
    """https://razorpay.com/docs/api/disputes/entity"""

    id: str
    payment_id: str
    status: str
    amount: int
    currency: str
    phase: str = ""
    amount_deducted: int | None = 0
    reason_code: str | None = None


class Orders(msgspec.Struct, frozen=True):
    items: list[OrderEntity]


class Payments(msgspec.Struct, frozen=True):
    items: list[PaymentEntity]


class Disputes(msgspec.Struct, frozen=True):
    items: list[DisputeEntity]


class Links(msgspec.Struct, frozen=True):
    payment_links: list[LinkEntity]


class _Of(msgspec.Struct, frozen=True):
    entity: msgspec.Raw


class Webhook(msgspec.Struct, frozen=True):
    event: str
    payload: dict[str, _Of] = {}


def update_of(payment: Payment, tries: Sequence[PaymentEntity]) -> GatewayUpdate:
    """Returns the update that follows from all attempts to pay, the oldest first. A received one counts, the known one
    before others; a failure counts when no attempt is pending and none followed it."""
    received = [each for each in tries if each.status in RECEIVED]
    known = [each for each in received if each.id == payment.gateway_id]
    order_id = payment.order_id or (tries[0].order_id if tries else None) or ""
    if received:
        return reported(order_id, payment.id, "captured", (known or received)[0])
    if not tries or any(each.status in _WAITING for each in tries):
        return GatewayUpdate(order_id, PaymentUpdate.OPEN, payment.id)
    return reported(order_id, payment.id, tries[-1].status, tries[-1])


def reported(order_id: str | None, payment_id: PaymentId | None, status: str, payment: PaymentEntity) -> GatewayUpdate:
    """The update with this status. Raises `Invalid` for an unknown currency."""
    if status in RECEIVED:
        return GatewayUpdate(order_id, PaymentUpdate.RECEIVED, payment_id, payment.id, payment.money)
    return GatewayUpdate(order_id, PaymentUpdate.FAILED if status == "failed" else PaymentUpdate.OPEN, payment_id)


def dispute_of(dispute: DisputeEntity) -> Dispute | None:
    """Returns None for a status that is not known."""
    status = _DISPUTES.get(dispute.status)
    if status is None:
        return None
    deducted = dispute.amount_deducted if status is DisputeStatus.LOST else None
    amount = Money.from_minor_units(deducted or dispute.amount, dispute.currency)
    return Dispute(dispute.id, amount, status, dispute.phase in INQUIRIES, dispute.reason_code)


def read(webhook: Webhook) -> GatewayUpdate | RefundUpdate | DisputeUpdate | None:
    """Returns None for an event that is not handled. Raises msgspec's `ValidationError`, and `Invalid` as above."""
    about = webhook.payload
    match webhook.event.split("."):
        case ["payment", ("authorized" | "captured" | "failed") as status] if "payment" in about:
            return _of_its_order(_entity(about["payment"], PaymentEntity), status)
        case ["order", "paid"] if {"order", "payment"} <= about.keys():
            order = _entity(about["order"], OrderEntity)
            named = _named_order(order.notes) or order.id
            return _update_of_order(named, order.receipt, _entity(about["payment"], PaymentEntity))
        case ["payment_link", "paid"] if {"payment_link", "payment"} <= about.keys():
            link = _entity(about["payment_link"], LinkEntity)
            of_link = _named_order(link.notes)
            return _update_of_order(of_link, link.reference_id, _entity(about["payment"], PaymentEntity))
        case ["refund", "created" | "processed" | "failed"] if "refund" in about:
            payment = _entity(about["payment"], PaymentEntity) if "payment" in about else None
            return _of_a_refund(_entity(about["refund"], RefundEntity), payment)
        case ["payment", "dispute", _] if "dispute" in about:
            payment = _entity(about["payment"], PaymentEntity) if "payment" in about else None
            return _of_a_dispute(_entity(about["dispute"], DisputeEntity), payment)
    return None


def is_for_payment_link(order: OrderEntity) -> bool:
    """Whether Razorpay created the order for a link: it then inherits the link's notes, which name the other order."""
    return _named_order(order.notes) is not None


def as_uuid(text: Any) -> UUID | None:
    try:
        return UUID(text)
    except (ValueError, TypeError, AttributeError):
        return None


def _of_its_order(payment: PaymentEntity, status: str) -> GatewayUpdate | None:
    """Returns None for a payment of a link: the link's own event reports it and names the other order."""
    if payment.order_id is None or _named_order(payment.notes) is not None:
        return None
    return reported(payment.order_id, None, status, payment)


def _update_of_order(order_id: str | None, receipt: str | None, payment: PaymentEntity) -> GatewayUpdate | None:
    ours = as_uuid(receipt)
    if order_id is None or ours is None:
        return None
    return reported(order_id, PaymentId(ours), "captured", payment)


def _of_a_refund(refund: RefundEntity, payment: PaymentEntity | None) -> RefundUpdate | None:
    if refund.status not in {"processed", "failed"}:
        return None
    return RefundUpdate(
        gateway_refund_id=refund.id,
        gateway_id=refund.payment_id,
        amount=Money.from_minor_units(refund.amount, refund.currency),
        succeeded=refund.status == "processed",
        refund_id=as_uuid(refund.notes.get("refund_id")) if isinstance(refund.notes, dict) else None,
        payment=_of_its_order(payment, "captured") if payment is not None else None,
    )


def _of_a_dispute(entity: DisputeEntity, payment: PaymentEntity | None) -> DisputeUpdate | None:
    dispute = dispute_of(entity)
    if dispute is None:
        return None
    is_received = payment is not None and payment.status in RECEIVED
    return DisputeUpdate(
        dispute, entity.payment_id, _of_its_order(payment, "captured") if payment is not None and is_received else None
    )


def _named_order(notes: Any) -> str | None:
    """The order that the notes name. Razorpay sends empty notes as a list."""
    named = notes.get("order_id") if isinstance(notes, dict) else None
    return named if isinstance(named, str) else None


def _entity(of: _Of, kind: type[T]) -> T:
    return msgspec.json.decode(of.entity, type=kind)
