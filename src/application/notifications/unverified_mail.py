"""Mails to addresses that are not verified."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from application.accounts.account_tokens import issue_token
from application.notifications.ports import BookedSessions, SessionRef, UnverifiedAddresses
from application.outbox.ports import Sender
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork
from application.use_cases import use_case
from domain.account_tokens import TokenKind
from domain.accounts import UserId
from domain.ids import AppointmentId, AppointmentRef, BookingId, BookingRef
from domain.invitations import InvitationId
from domain.outbox import Delivered, Held, Message, Outcome
from domain.unverified_mail import (
    MAILS_TO_UNVERIFIED,
    ONLY_USER_CONTENT,
    PER,
    BookedSession,
    outdated_reason,
    recipient_address,
    without_user_content,
)


@use_case
class MailToUnverified:
    """Sender of e-mails that limits those to addresses that are not proven.

    - Such an address gets at most `MAILS_TO_UNVERIFIED` mails in `PER`, from all accounts together. A message
      counts once, also if it is tried again. The others are held until the address is verified.
    - The mails have no links and no longer texts of users, and those with an account the link that verifies it.
    - A mail that consists of a user's text is held.
    - An address without an account is limited as well. Accounts from before this rule are not.
    - A mail that was held is not sent if it has become outdated. One about a series has the sessions that are current.
    """

    mail: Sender
    addresses: UnverifiedAddresses
    sessions: BookedSessions
    open_work: OpenUnitOfWork
    clock: Clock

    async def deliver(self, message: Message) -> Outcome:
        if message.was_held:
            message = await self._with_current_sessions(message)
            if (reason := await self._outdated_reason(message)) is not None:
                return Delivered(f"not sent: {reason}")
        address = recipient_address(message.payload)
        if address is None:
            return await self.mail.deliver(message)
        owner = await self.addresses.find(address)
        if not owner.is_limited:
            return await self.mail.deliver(message)
        if message.message_type in ONLY_USER_CONTENT:
            return Held(address, "held: it has a text of a user, and the address is not verified")
        if not await self.addresses.count(address, message.id, at_most=MAILS_TO_UNVERIFIED, per=PER):
            return Held(address, f"held: {MAILS_TO_UNVERIFIED} mails in 24 hours, and the address is not verified")
        payload = without_user_content(message.payload)
        if owner.user_id is not None and "token" not in payload:
            payload["verification"] = await self._token(owner.user_id)
        return await self.mail.deliver(replace(message, payload=payload))

    async def _token(self, user_id: UserId) -> str:
        async with self.open_work() as work:
            user = await work.users.get(user_id)
            token = await issue_token(work, TokenKind.VERIFY_EMAIL, user, email=user.email, now=self.clock.now())
            await work.commit()
        return token

    async def _with_current_sessions(self, message: Message) -> Message:
        """The mail about a series has only those of its sessions that are current; if there is none, it is the same."""
        current = []
        for each in message.payload.get("series", ()):
            one = replace(message, payload={"coaching": each})
            if await self._outdated_reason(one) is None:
                current.append(each)
        if not current:
            return message
        return replace(message, payload=message.payload | {"series": current, "coaching": current[0]})

    async def _outdated_reason(self, message: Message) -> str | None:
        found = _session(message.payload)
        ref, then = found or (None, None)
        now = await self.sessions.find(ref) if ref is not None else None
        return outdated_reason(message, then, now, self.clock.now())


def _session(payload: Mapping[str, Any]) -> tuple[SessionRef, BookedSession] | None:
    """What a mail is about, as the mail shows it; None for a mail about an account."""
    if (appointment := payload.get("coaching")) is not None:
        return AppointmentRef(AppointmentId(UUID(appointment["id"]))), _shown(appointment, appointment)
    if (invitation := payload.get("invitation")) is not None:
        return InvitationId(UUID(invitation["id"])), _shown(payload["event"], {})
    if (booking := payload.get("booking")) is not None:
        return BookingRef(BookingId(booking["id"])), _shown(payload["event"], booking)
    return None


def _shown(times: Mapping[str, Any], booking: Mapping[str, Any]) -> BookedSession:
    starts_at, ends_at = (datetime.fromisoformat(times[each]) for each in ("starts_at", "ends_at"))
    return BookedSession(starts_at, ends_at, is_live=True, payment_status=booking.get("payment_status"))
