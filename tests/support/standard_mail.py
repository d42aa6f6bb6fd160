"""Mails written by the standard library, the reference for those of the product, and mails as they are received."""

from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, default

from servicekit.mail_message import Calendar, Mail

POLICY = SMTP.clone(cte_type="7bit", utf8=True)


def received(mail: Mail) -> EmailMessage:
    """The mail as a mail program reads it."""
    return message_from_bytes(mail.octets(), policy=default)


def written(mail: Mail) -> bytes:
    """The octets with the same boundaries. Correct only for texts in headers that the standard library encodes
    correctly: plain ASCII on one line."""
    message = EmailMessage(policy=POLICY)
    for header in mail.headers:
        if isinstance(header.meaning, str):
            message[header.name] = header.meaning
        else:
            message[header.name] = [Address(name, addr_spec=address) for name, address in header.meaning]
    if mail.text is not None:
        message.set_content(mail.text)
    if mail.html is not None and mail.text is None:
        message.set_content(mail.html, subtype="html")
    elif mail.html is not None:
        message.add_alternative(mail.html, subtype="html")
    if mail.calendar is not None:
        _attach(message, mail.calendar)
    _take_boundaries(message, received(mail))
    return bytes(message)


def _attach(message: EmailMessage, calendar: Calendar) -> None:
    message.add_alternative(calendar.text, subtype="calendar", params={"method": calendar.method})
    message.add_attachment(calendar.text.encode(), maintype="application", subtype="ics", filename=calendar.file_name)


def _take_boundaries(message: EmailMessage, other: EmailMessage) -> None:
    for part, same in zip(message.walk(), other.walk(), strict=True):
        if boundary := same.get_boundary():
            part.set_boundary(boundary)
