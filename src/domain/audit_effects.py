"""Entries in the audit log for changes of accounts, events, bookings, appointments and refunds. The repositories record
them when they write the change, so a use case cannot omit one."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from domain.accounts import LoginId, User, UserId
from domain.api_keys import ApiKey, ApiKeyId
from domain.appointments import AppointmentCancelReason, AppointmentChange, AppointmentEvent
from domain.audit import SYSTEM, AuditAction, Audited, AuditedKind, AuditTrail, Fields, Value, actor_of
from domain.bookings import BookingChange, BookingEvent, CancelReason
from domain.credentials import Credential
from domain.event_effects import EFFECTS
from domain.events import EventChanged, EventDetails, EventId
from domain.money import Money
from domain.payments import PaymentId
from domain.refunds import RefundId
from domain.second_factors import FactorId


def account(user_id: UserId) -> Audited:
    return Audited(AuditedKind.ACCOUNT, str(user_id))


def session_of(login_id: LoginId) -> Audited:
    return Audited(AuditedKind.SESSION, str(login_id))


def record_new_account(trail: AuditTrail, user: User) -> None:
    trail.record(AuditAction.ACCOUNT_CREATED, account(user.id), after=_state(user))


def record_account(trail: AuditTrail, before: User, after: User) -> None:
    then, now = _state(before), _state(after)
    for name, action in _ON_ACCOUNT.items():
        if then[name] != now[name]:
            chosen = action if isinstance(action, AuditAction) else action(now[name])
            trail.record(chosen, account(after.id), before={name: then[name]}, after={name: now[name]})


def record_new_email(trail: AuditTrail, user: User, email: str) -> None:
    before, after = {"address": trail.hash_of(user.email)}, {"address": trail.hash_of(email)}
    trail.record(AuditAction.EMAIL_CHANGED, account(user.id), before=before, after=after)


def _state(user: User) -> Fields:
    return {
        "role": user.role.value,
        "is_active": user.is_active,
        "is_verified": user.is_verified,
        "identity_linked": user.external_id is not None,
    }


def _activity(is_active: Value) -> AuditAction:
    return AuditAction.ACCOUNT_ACTIVATED if is_active else AuditAction.ACCOUNT_DEACTIVATED


_ON_ACCOUNT: Mapping[str, AuditAction | Callable[[Value], AuditAction]] = {
    "role": AuditAction.ROLE_CHANGED,
    "is_active": _activity,
    "is_verified": AuditAction.ACCOUNT_VERIFIED,
    "identity_linked": AuditAction.IDENTITY_CHANGED,
}


def record_login(trail: AuditTrail, user: User, login_id: LoginId) -> None:
    after = {"session": str(login_id)}
    trail.record(AuditAction.LOGIN_SUCCEEDED, account(user.id), after=after, actor=actor_of(user))


def record_failed_login(trail: AuditTrail, email: str, user_id: UserId | None) -> None:
    """`user_id`: the account with this e-mail, if there is one."""
    address = trail.hash_of(email)
    failed = Audited(AuditedKind.ADDRESS, address) if user_id is None else account(user_id)
    trail.record(AuditAction.LOGIN_FAILED, failed, after={"address": address})


def record_revocation(trail: AuditTrail, user_id: UserId, credentials: Iterable[Credential], reason: str) -> None:
    revoked = set(credentials)
    if Credential.LOGINS in revoked:
        trail.record(AuditAction.SESSIONS_ENDED, account(user_id), after={"reason": reason})
    if Credential.PASSWORD in revoked:
        trail.record(AuditAction.PASSWORD_REMOVED, account(user_id), after={"reason": reason})
    if Credential.SECOND_FACTORS in revoked:
        trail.record(AuditAction.FACTORS_REMOVED, account(user_id), after={"reason": reason})


def record_factor(trail: AuditTrail, action: AuditAction, user_id: UserId, factor_id: FactorId) -> None:
    trail.record(action, account(user_id), after={"factor": str(factor_id)})


def record_new_key(trail: AuditTrail, key: ApiKey) -> None:
    after: Fields = {
        "account": key.user_id,
        "scopes": " ".join(sorted(key.scopes)),
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
    }
    trail.record(AuditAction.API_KEY_CREATED, Audited(AuditedKind.API_KEY, str(key.id)), after=after)


def record_revoked_key(trail: AuditTrail, user_id: UserId, key_id: ApiKeyId) -> None:
    trail.record(AuditAction.API_KEY_REVOKED, Audited(AuditedKind.API_KEY, str(key_id)), after={"account": user_id})


def record_revoked_keys(trail: AuditTrail, user_id: UserId, number: int, reason: str) -> None:
    """All keys of an account."""
    if number:
        trail.record(AuditAction.API_KEYS_REVOKED, account(user_id), after={"keys": number, "reason": reason})


def record_event(trail: AuditTrail, event: EventChanged) -> None:
    action = EFFECTS[event.change].audit
    if action is None:
        return
    before = {} if event.before is None else _details(event.before.details, trail.hash_of)
    after = _details(event.after.details, trail.hash_of)
    changed = {name for name, value in after.items() if name not in before or before[name] != value}
    trail.record(
        action,
        Audited(AuditedKind.EVENT, str(event.after.id)),
        before={name: value for name, value in before.items() if name in changed},
        after={name: value for name, value in after.items() if name in changed},
    )


def _details(details: EventDetails, hash_of: Callable[[str], str]) -> Fields:
    """Texts, which may have names and addresses, as hashes."""
    texts = {
        "title": details.title,
        "description": details.description,
        "category": details.category,
        "location": details.location,
        "virtual_link": details.virtual_link,
    }
    return {
        "starts_at": details.interval.starts_at.isoformat(),
        "ends_at": details.interval.ends_at.isoformat(),
        "capacity": details.capacity,
        "price": _plain(details.price.amount),
        "currency": details.price.currency,
        "event_type": details.event_type.value,
        "refund_policy": " ".join(f"{tier.hours_before}h:{tier.percent}%" for tier in details.refund_policy.tiers),
        **{name: None if text is None else hash_of(text) for name, text in texts.items()},
    }


def record_booking(trail: AuditTrail, event: BookingEvent) -> None:
    booking = event.after
    if event.change is BookingChange.CANCELLED and booking.cancel_reason is CancelReason.BY_ORGANISER:
        trail.record(
            AuditAction.BOOKING_CANCELLED,
            Audited(AuditedKind.BOOKING, str(booking.id)),
            after={"event": booking.event_id, "account": booking.user_id},
        )


_BY_OTHERS = {AppointmentCancelReason.BY_COACH, AppointmentCancelReason.BY_ORGANISER}


def record_appointment(trail: AuditTrail, event: AppointmentEvent) -> None:
    if event.change is AppointmentChange.CANCELLED and event.reason in _BY_OTHERS:
        trail.record(
            AuditAction.APPOINTMENT_CANCELLED,
            Audited(AuditedKind.APPOINTMENT, str(event.after.id)),
            after={"reason": str(event.reason), "client": event.after.client_id, "coach": event.after.coach_id},
        )


def record_refund(
    trail: AuditTrail, payment_id: PaymentId, refund_id: RefundId, amount: Money, reason: str, *, at_gateway: bool
) -> None:
    """`at_gateway`: it was made there, without a request here."""
    trail.record(
        AuditAction.REFUND_RECORDED if at_gateway else AuditAction.REFUND_REQUESTED,
        Audited(AuditedKind.PAYMENT, str(payment_id)),
        after={
            "refund": str(refund_id),
            "amount": _plain(amount.amount),
            "currency": amount.currency,
            "reason": str(reason),
        },
        actor=SYSTEM if at_gateway else None,
    )


def record_refunds_of_event(trail: AuditTrail, event_id: EventId, amounts: Iterable[Money]) -> None:
    """One entry for all refunds of a cancelled event."""
    sums: dict[str, Decimal] = {}
    number = 0
    for amount in amounts:
        number += 1
        sums[amount.currency] = sums.get(amount.currency, Decimal(0)) + amount.amount
    if number:
        after = {"refunds": number} | {currency: _plain(total) for currency, total in sums.items()}
        trail.record(AuditAction.REFUND_REQUESTED, Audited(AuditedKind.EVENT, str(event_id)), after=after)


def record_decision(trail: AuditTrail, action: AuditAction, message_id: UUID) -> None:
    """An operator's decision on a message of the outbox."""
    trail.record(action, Audited(AuditedKind.MESSAGE, str(message_id)))


def record_decisions(
    trail: AuditTrail, action: AuditAction, destination: str | None, since: datetime | None, messages: int
) -> None:
    """A decision on all messages that match; `destination` None: of every destination."""
    if messages:
        after: Fields = {"messages": messages, "since": None if since is None else since.isoformat()}
        trail.record(action, Audited(AuditedKind.DESTINATION, destination), after=after)


def _plain(amount: Decimal) -> str:
    """Without trailing zeros, so that a stored amount equals an entered one."""
    return f"{amount.normalize():f}"
