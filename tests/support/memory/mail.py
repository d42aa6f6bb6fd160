"""A mail server in memory, as a mail transport shows it."""

from enum import StrEnum

from servicekit.mail_message import Mail
from servicekit.mail_transport import LoginRefused, MailNotSent, UnsendableMail
from servicekit.mail_verification import UnsafeMail, VerifiedMail, verified

ACCEPTED = "250 taken as 42"


class MailFault(StrEnum):
    UNREACHABLE = "unreachable"
    SILENT = "silent"
    """It accepts the connection and never answers."""
    DISCONNECTS = "disconnects"
    """It ends the connection before it has the mail."""
    LOSES_THE_REPLY = "loses_the_reply"
    """It accepts the mail and ends the connection before its reply."""
    HANGS_AT_THE_END = "hangs_at_the_end"
    """It accepts the mail and does not answer the end of the conversation."""


class MemoryMailServer:
    """Replies are `250 …` for what is accepted. `to_recipients`: the reply to each recipient with another one."""

    def __init__(self) -> None:
        self.accepted: list[VerifiedMail] = []
        self.to_login = "235 welcome"
        self.to_sender = "250 OK"
        self.to_recipients: dict[str, str] = {}
        self.to_content = ACCEPTED
        self.offers_smtputf8 = False
        self.fault: MailFault | None = None

    async def send(self, mail: Mail) -> str:
        try:
            ready = verified(mail)
        except UnsafeMail as error:
            raise UnsendableMail(str(error), permanent=True) from None
        if self.fault is MailFault.UNREACHABLE:
            raise MailNotSent("mail: connection refused", destination_fault=True)
        if self.fault is MailFault.SILENT:
            raise MailNotSent("mail: no answer within 15 s", destination_fault=True)
        if not _is_positive(self.to_login):
            raise LoginRefused(self.to_login, destination_fault=True, status_code=int(self.to_login[:3]))
        if ready.smtputf8 and not self.offers_smtputf8:
            raise MailNotSent("mail: the server does not offer SMTPUTF8, which the address needs", permanent=True)
        return self._transmit(ready)

    async def close(self) -> None:
        """Keeps no connections."""

    def _transmit(self, mail: VerifiedMail) -> str:
        if not _is_positive(self.to_sender):
            raise MailNotSent(self.to_sender, destination_fault=True, status_code=int(self.to_sender[:3]))
        if self.fault is MailFault.DISCONNECTS:
            raise MailNotSent("mail: connection lost", destination_fault=True)
        replies = {recipient: self.to_recipients.get(recipient, "250 OK") for recipient in mail.recipients}
        recipients = [recipient for recipient, reply in replies.items() if _is_positive(reply)]
        if not recipients:
            raise _refused(replies[mail.recipients[0]])
        if not _is_positive(self.to_content):
            raise _refused(self.to_content)
        self.accepted.append(VerifiedMail(mail.sender, recipients, mail.octets))
        if self.fault is MailFault.LOSES_THE_REPLY:
            raise MailNotSent("mail: connection lost", destination_fault=True)
        return self.to_content.partition(" ")[2]


def _is_positive(reply: str) -> bool:
    return reply.startswith("2")


def _refused(reply: str) -> MailNotSent:
    code = int(reply[:3])
    return MailNotSent(reply, permanent=code >= 500, status_code=code, destination_fault=code == 421)
