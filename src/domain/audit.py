"""The audit log: who did what, from where, on what. Entries are chained by hash, so that a later change is found.

An entry has ids and keyed hashes only: no name, no address, no phone number, no secret.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NewType, TypeAlias

from domain.accounts import User
from domain.api_keys import ApiKeyId
from domain.authorization import is_admin

AuditEntryId = NewType("AuditEntryId", int)


class AuditAction(StrEnum):
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    SESSION_ENDED = "session.ended"
    SESSIONS_ENDED = "sessions.ended"
    """All of an account."""
    ACCOUNT_CREATED = "account.created"
    ACCOUNT_ACTIVATED = "account.activated"
    ACCOUNT_DEACTIVATED = "account.deactivated"
    ACCOUNT_VERIFIED = "account.verified"
    EMAIL_CHANGED = "account.email_changed"
    ACCOUNT_EXPORTED = "account.exported"
    """What is stored about the account."""
    ERASURE_REQUESTED = "account.erasure_requested"
    ERASURE_WITHDRAWN = "account.erasure_withdrawn"
    ACCOUNT_ERASED = "account.erased"
    IDENTITY_CHANGED = "account.identity_changed"
    ROLE_CHANGED = "account.role_changed"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 (an action)
    PASSWORD_REMOVED = "password.removed"  # noqa: S105 (an action)
    API_KEY_CREATED = "api_key.created"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEYS_REVOKED = "api_keys.revoked"
    """All of an account."""
    FACTOR_ADDED = "factor.added"
    FACTOR_RENAMED = "factor.renamed"
    FACTOR_REMOVED = "factor.removed"
    FACTOR_FAILED = "factor.failed"
    """A code that is not valid."""
    FACTORS_REMOVED = "factors.removed"
    """All of an account, with its recovery codes."""
    RECOVERY_CODES_REPLACED = "recovery_codes.replaced"
    RECOVERY_CODE_USED = "recovery_code.used"
    EVENT_CREATED = "event.created"
    EVENT_CHANGED = "event.changed"
    EVENT_CANCELLED = "event.cancelled"
    EVENT_DELETED = "event.deleted"
    BOOKING_CANCELLED = "booking.cancelled"
    """By another person than the one who booked; with an event, the entry is that of the event."""
    APPOINTMENT_CANCELLED = "appointment.cancelled"
    """By the coach or an admin."""
    REFUND_REQUESTED = "refund.requested"
    REFUND_RECORDED = "refund.recorded"
    """Made at the gateway, without a request here."""
    MESSAGES_REPLAYED = "outbox.replayed"
    MESSAGES_DISCARDED = "outbox.discarded"
    PROCESS_STARTED = "settings.loaded"
    AUDIT_READ = "audit.read"
    """A page of the audit log."""
    AUDIT_EXPORTED = "audit.exported"


class AuditedKind(StrEnum):
    """What an action was done on."""

    ACCOUNT = "account"
    ADDRESS = "address"
    """A keyed hash of an e-mail address without an account."""
    SESSION = "session"
    API_KEY = "api_key"
    EVENT = "event"
    BOOKING = "booking"
    APPOINTMENT = "appointment"
    PAYMENT = "payment"
    MESSAGE = "message"
    DESTINATION = "destination"
    SETTINGS = "settings"
    AUDIT_LOG = "audit_log"


@dataclass(frozen=True, slots=True)
class Audited:
    """What an action was done on: an `AuditedKind`, or that of a newer version. `id` is None where it concerns all of a
    kind."""

    kind: str
    id: str | None


class ActorKind(StrEnum):
    ACCOUNT = "account"
    ADMIN = "admin"
    """An account with the role of an admin."""
    KEY = "key"
    OPERATOR = "operator"
    """The `convene` command."""
    SYSTEM = "system"
    """The worker, a payment gateway, the start of a process."""
    ANONYMOUS = "anonymous"
    """A request without an account, such as a login that failed."""


@dataclass(frozen=True, slots=True)
class AuditActor:
    """An `ActorKind`, or that of a newer version. `id`: that of the account or of the key; None for the other kinds."""

    kind: str
    id: str | None = None


SYSTEM = AuditActor(ActorKind.SYSTEM)
OPERATOR = AuditActor(ActorKind.OPERATOR)
ANONYMOUS = AuditActor(ActorKind.ANONYMOUS)


def actor_of(user: User) -> AuditActor:
    return AuditActor(ActorKind.ADMIN if is_admin(user) else ActorKind.ACCOUNT, str(user.id))


def key_actor(key_id: ApiKeyId) -> AuditActor:
    return AuditActor(ActorKind.KEY, str(key_id))


@dataclass(frozen=True, slots=True)
class AuditOrigin:
    """Who acts, by which request, and from which network (`domain.networks.network_of`); None where there is no
    client. Entries do not have the `user_agent`, as it was received: sessions do."""

    actor: AuditActor = SYSTEM
    network: str | None = None
    request_id: str | None = None
    user_agent: str | None = None


Value: TypeAlias = str | int | bool | None
Fields: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """`action` is an `AuditAction`, or that of a newer version. `before` and `after` have the changed fields. `network`
    is a keyed hash."""

    actor: AuditActor
    network: str | None
    action: str
    audited: Audited
    before: Fields | None = None
    after: Fields | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAuditEntry(AuditEntry):
    """`previous_hash` and `hash` are None until the entry is chained."""

    id: AuditEntryId
    at: datetime
    previous_hash: str | None = None
    hash: str | None = None


class AuditTrail:
    """The entries of one unit of work, which are written with its commit."""

    __slots__ = ("_key", "_origin", "entries")

    def __init__(self, origin: Callable[[], AuditOrigin], key: bytes) -> None:
        """`key` is that of the hashes."""
        self._origin = origin
        self._key = key
        self.entries: list[AuditEntry] = []

    def record(
        self,
        action: AuditAction,
        audited: Audited,
        *,
        before: Fields | None = None,
        after: Fields | None = None,
        actor: AuditActor | None = None,
    ) -> None:
        """`actor`: who acts, if it is not the account of the request."""
        origin = self._origin()
        entry = AuditEntry(
            actor=actor or origin.actor,
            network=None if origin.network is None else self.hash_of(origin.network),
            action=action,
            audited=audited,
            before=before or None,
            after=after or None,
            request_id=origin.request_id,
        )
        self.entries.append(entry)

    def hash_of(self, text: str) -> str:
        """A keyed hash, which tells equal texts without revealing them."""
        return hmac.digest(self._key, text.encode(), hashlib.sha256)[:16].hex()


# The chain


@dataclass(frozen=True, slots=True)
class ChainLink:
    """An entry of the chain by its id and hash. The first entry follows `BEGINNING`."""

    id: AuditEntryId
    hash: str


BEGINNING = ChainLink(AuditEntryId(0), "")


def link(previous: ChainLink, entry: StoredAuditEntry) -> ChainLink:
    """The SHA-256 of the hash before and of all fields of the entry."""
    fields = [
        previous.hash,
        entry.id,
        entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.actor.kind,
        entry.actor.id,
        entry.network,
        entry.action,
        entry.audited.kind,
        entry.audited.id,
        entry.before,
        entry.after,
        entry.request_id,
    ]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return ChainLink(entry.id, hashlib.sha256(text.encode()).hexdigest())


def links(previous: ChainLink, entries: Iterable[StoredAuditEntry]) -> Sequence[ChainLink]:
    """The links of entries that follow `previous`, in the order of their ids."""
    found = []
    for entry in entries:
        previous = link(previous, entry)
        found.append(previous)
    return found


@dataclass(frozen=True, slots=True)
class ChainBreak:
    """The first entry that does not follow from the one before."""

    id: AuditEntryId
    why: str


def next_link(previous: ChainLink, entry: StoredAuditEntry) -> ChainLink | ChainBreak:
    if entry.hash is None:
        return ChainBreak(entry.id, "it was added between chained entries")
    if entry.previous_hash != previous.hash:
        return ChainBreak(entry.id, f"an entry between {previous.id} and it was removed or added")
    expected = link(previous, entry)
    return expected if expected.hash == entry.hash else ChainBreak(entry.id, "it was changed")
