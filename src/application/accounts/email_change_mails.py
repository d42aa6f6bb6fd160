"""Mails about a change of an address that need a token of the request."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from application.accounts.account_tokens import RequestTokens
from application.outbox.ports import Sender
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.account_tokens import AccountToken, TokenKind
from domain.outbox import Delivered, Message, MessageType, Outcome

_KINDS = {
    MessageType.EMAIL_CHANGE_REQUESTED: TokenKind.UNDO_EMAIL_CHANGE,
    MessageType.EMAIL_CHANGE_CONFIRMATION: TokenKind.CHANGE_EMAIL,
}


@use_case
class MailWithEmailChangeLinks:
    """Sender of e-mails that adds the token of a request for another address. A mail whose request was replaced or
    ended is not sent. The mail to an address that another account has gets no token, and not the name of the
    requester."""

    mail: Sender
    open_work: OpenUnitOfWork
    tokens: RequestTokens
    clock: Clock

    async def deliver(self, message: Message) -> Outcome:
        kind = _KINDS.get(message.message_type)
        if kind is None:
            return await self.mail.deliver(message)
        now = self.clock.now()
        async with self.open_work() as work:
            sent = await self.tokens.send(work, UUID(message.payload["request"]), kind, now)
            if sent is None:
                return Delivered("not sent: the request was replaced or has ended")
            secret, token = sent
            added: dict[str, Any] = {"token": secret}
            if kind is TokenKind.CHANGE_EMAIL and await _is_taken(work, token, now):
                added = {"person": {"name": token.email, "email": token.email}}
            await work.commit()
        return await self.mail.deliver(replace(message, payload=message.payload | added))


async def _is_taken(work: UnitOfWork, token: AccountToken, now: datetime) -> bool:
    """Whether another account has the new address, or can get it back."""
    if await work.users.find_credentials(token.email) is not None:
        return True
    return await work.users.has_reserved(token.email, now, but=token.user_id)
