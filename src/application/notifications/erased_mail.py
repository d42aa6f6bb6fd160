"""Mails to accounts that were erased."""

from application.outbox.ports import Sender
from application.use_cases import use_case
from domain.erasure import is_erased_email
from domain.outbox import Delivered, Message, Outcome
from domain.unverified_mail import recipient_address


@use_case
class MailToErased:
    """Sender of e-mails that sends none to an account that was erased, such as about a refund that was made later."""

    mail: Sender

    async def deliver(self, message: Message) -> Outcome:
        address = recipient_address(message.payload)
        if address is not None and is_erased_email(address):
            return Delivered("not sent: the account was erased")
        return await self.mail.deliver(message)
