"""Parts that every process needs: the enabled destinations, and units of work."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta

from application.accounts.account_tokens import RequestTokens
from application.audit.ports import NewTrail, new_trails
from application.bookings.ports import InvitationTokens
from application.payments.ports.gateways import PaymentGateway
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from domain.attachments import AttachmentQuota
from domain.audit import Fields, Value
from domain.outbox import ALWAYS_SERVED, Destination, Routes
from infrastructure.auth.invitation_tokens import MacInvitationTokens
from infrastructure.auth.token_encryption import SecretBox
from infrastructure.postgres.engine import Database
from infrastructure.postgres.unit_of_work import UnitsOfWork
from infrastructure.settings import SECRETS, Settings
from servicekit.logging import current_request_id


def served(settings: Settings) -> frozenset[Destination]:
    """The enabled destinations. Web and worker must have the same settings: one writes their messages, the other one
    delivers them."""
    return ALWAYS_SERVED | ({Destination.NOTIFICATION} if settings.notification_service_url else frozenset())


def derived_key(settings: Settings, purpose: bytes) -> bytes:
    """A key for one purpose, from JWT_SECRET_KEY."""
    return hmac.digest(settings.jwt_secret_key.encode(), purpose, hashlib.sha256)


def invitation_tokens(settings: Settings) -> InvitationTokens:
    """Tokens of invitations, the same in web and worker."""
    return MacInvitationTokens(derived_key(settings, b"invitations"))


def request_tokens(settings: Settings) -> RequestTokens:
    """Tokens of requests, the same in web and worker."""
    return RequestTokens(derived_key(settings, b"request tokens"))


def audit_trails(settings: Settings) -> NewTrail:
    return new_trails(derived_key(settings, b"audit log"))


def recorded_settings(settings: Settings) -> Fields:
    """The settings for the audit log, without secrets. Texts, which may have addresses, as keyed hashes."""
    key = derived_key(settings, b"audit log")

    def recorded(value: object) -> Value:
        if value is None or isinstance(value, bool | int):
            return value
        return hmac.digest(key, repr(value).encode(), hashlib.sha256)[:16].hex()

    shown = {name: getattr(settings, name) for name in settings.__struct_fields__ if name.upper() not in SECRETS}
    return {name: recorded(value) for name, value in shown.items()}


def attachment_quota(settings: Settings) -> AttachmentQuota:
    return AttachmentQuota(files=settings.attachments_per_account, megabytes=settings.attachment_megabytes_per_account)


@dataclass(frozen=True, slots=True)
class Substitutes:
    """Adapters that replace the production ones."""

    clock: Clock | None = None
    """By default the clock of the database."""
    gateway: PaymentGateway | None = None
    """Added to the configured gateways and chosen for new payments."""
    units_of_work: type[UnitsOfWork] = UnitsOfWork


PRODUCTION = Substitutes()
"""Nothing is replaced."""


def units_of_work(
    settings: Settings, database: Database, routes: Routes, clock: Clock, substitutes: Substitutes
) -> OpenUnitOfWork:
    return substitutes.units_of_work(
        database,
        routes,
        clock,
        current_request_id,
        default_currency=settings.default_currency,
        reminder_offsets=settings.reminder_offsets,
        change_mail_window=timedelta(minutes=settings.change_mail_merge_minutes),
        box=SecretBox(settings.token_encryption_keys),
        new_trail=audit_trails(settings),
    )
