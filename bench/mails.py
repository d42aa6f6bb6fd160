"""What it costs to compose a mail with its calendar entry, beside the standard library with the same texts."""

import time
from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from uuid import UUID

from bench.figures import alternating, median_of, median_ratio
from bench.options import Options
from bench.site import Site
from bench.table import Line, at_most
from domain.outbox import Destination, Message, MessageId
from infrastructure.email.composer import MailComposer
from servicekit.mail_message import Mail
from servicekit.mail_verification import verified
from tests.support.messages import a_message

MAILS_PER_SECOND = 300
_POLICY = SMTP.clone(cte_type="7bit", utf8=True)


async def compose(_site: Site, options: Options) -> list[Line]:
    """Confirmations of bookings, each with another client, from the message to the octets that are sent."""
    composer = MailComposer(mail_from="Convene <no-reply@convene.example>", public_url="https://book.example.org")
    messages = [_confirmation(number) for number in range(round(MAILS_PER_SECOND * options.seconds))]
    mails = [composer.compose(message) for message in messages]

    def product() -> None:
        for message in messages:
            verified(composer.compose(message))

    def library() -> None:
        for mail in mails:
            _written(mail)

    async def cpu(work: Callable[[], None]) -> float:
        began = time.process_time()
        work()
        return 1000 * (time.process_time() - began) / len(messages)

    figures = await alternating(options.blocks, {"product": lambda: cpu(product), "library": lambda: cpu(library)})
    return lines(figures)


def lines(figures: dict[str, list[float]]) -> list[Line]:
    """Milliseconds of CPU of a mail."""
    now, limit = (median_of(figures[name], float) for name in ("product", "library"))
    ratio = median_ratio(figures["product"], figures["library"], float)
    return [
        Line(
            "ms of CPU to compose a mail with its calendar entry",
            f"{now:.2f}: {ratio:.2f} of `EmailMessage`",
            f"`EmailMessage` of the texts alone: {limit:.2f}",
            (at_most(now, 0.5, "ms"),),
        )
    ]


def _confirmation(number: int) -> Message:
    """A message of a booking, with a payload of its own."""
    name = f"Ada Löwe {number}"
    message = a_message(destination=Destination.EMAIL, user={"name": name, "email": f"ada{number}@example.com"})
    return replace(message, id=MessageId(UUID(int=message.id.int + number)))


def _written(mail: Mail) -> bytes:
    message = EmailMessage(policy=_POLICY)
    for header in mail.headers:
        message[header.name] = header.meaning if isinstance(header.meaning, str) else header.meaning[0].address
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    if mail.calendar:
        calendar = mail.calendar
        message.add_alternative(calendar.text, subtype="calendar", params={"method": calendar.method})
        octets = calendar.text.encode()
        message.add_attachment(octets, maintype="application", subtype="ics", filename=calendar.file_name)
    return bytes(message)
