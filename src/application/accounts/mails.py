"""Mails about accounts that need a token."""

from dataclasses import replace
from typing import Any

from application.accounts.account_tokens import issue_token
from application.outbox.ports import Sender
from application.ports import Clock
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.account_tokens import TokenKind
from domain.accounts import User, UserId
from domain.outbox import Delivered, Message, MessageType, Outcome


@use_case
class MailWithAccountTokens:
    """Sender of e-mails that adds a new token to those with a link about the recipient's account. A mail that has
    become useless is not sent, and neither is one about a password to an address without an account."""

    mail: Sender
    open_work: OpenUnitOfWork
    clock: Clock

    async def deliver(self, message: Message) -> Outcome:
        match message.message_type:
            case MessageType.EMAIL_VERIFICATION:
                kind, find = TokenKind.VERIFY_EMAIL, _unverified
            case MessageType.PASSWORD_RESET_REQUESTED:
                kind, find = TokenKind.RESET_PASSWORD, _with_address
            case _:
                return await self.mail.deliver(message)
        async with self.open_work() as work:
            user = await find(work, message.payload)
            if user is None or not user.is_active:
                return Delivered("not sent: there is no such account, or it has changed")
            token = await issue_token(work, kind, user, email=user.email, now=self.clock.now())
            await work.commit()
        added = {"token": token, "person": {"name": user.name, "email": user.email}}
        return await self.mail.deliver(replace(message, payload=message.payload | added))


async def _unverified(work: UnitOfWork, payload: dict[str, Any]) -> User | None:
    user = await work.users.get(UserId(payload["person"]["id"]))
    return None if user.is_verified or user.email != payload["person"]["email"] else user


async def _with_address(work: UnitOfWork, payload: dict[str, Any]) -> User | None:
    credentials = await work.users.find_credentials(payload["email"])
    return credentials.user if credentials else None
