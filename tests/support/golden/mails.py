"""Every kind of mail as its headers and parts, and the calendar entries in it, without the text."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cache
from typing import Any, cast
from uuid import UUID

from icalendar.parser import Contentlines

from crm.email.content import NotificationEmailWriter
from crm.notification_store import MailClaim
from crm.notifications import Notification
from domain.calendar_feed import EntryKind, FeedEntry
from domain.invitations import InvitationId
from domain.outbox import Destination
from infrastructure.email.composer import MailComposer
from infrastructure.email.content import Unmailable
from infrastructure.email.invitation_mail import InvitationLinks
from infrastructure.icalendar.feeds import IcsWriter
from servicekit import json_values
from servicekit.clock import machine_time
from tests.crm.parts import a_message as a_notification
from tests.support.golden.cases import account_messages, messages, sent_to
from tests.support.standard_mail import received

_PROSE = {"SUMMARY", "DESCRIPTION", "NAME", "X-WR-CALNAME"}
MOMENT = datetime(2026, 11, 20, 13, 8, 10, tzinfo=UTC)


class _Tokens:
    def token(self, invitation_id: InvitationId) -> str:
        return str(invitation_id)

    def read(self, token: str) -> InvitationId:
        return InvitationId(UUID(token))


def composer() -> MailComposer:
    return MailComposer(
        mail_from="Convene <no-reply@convene.example>",
        public_url="https://book.example.org",
        invitation_links=InvitationLinks("https://book.example.org", _Tokens()),
        booking_url_template="https://www.example.org/bookings/{reference}",
    )


def booking_api() -> dict[str, Any]:
    """Mails of the same structure together; `none` are the messages that no mail is written about."""
    return _grouped(_mail, _composed())


def crm() -> dict[str, Any]:
    writer = NotificationEmailWriter("Convene <no-reply@convene.example>")
    mails = {"test": writer.test("ada@example.com", "Test", "<p>Test</p>", machine_time())}
    for action in (None, *sent_to(Destination.CRM), "something_new"):
        for variant in ("", "without the person's address"):
            mails[", ".join(filter(None, (action or "no action", variant)))] = writer.compose(_claim(action, variant))
    return _grouped(_mail, {name: received(mail) for name, mail in mails.items()})


def calendars() -> dict[str, Any]:
    """The calendar of each mail that has one, and the feed."""
    with_one = {name: mail for name, mail in _composed().items() if mail is not None and list(mail.iter_attachments())}
    return {"invitations": _grouped(_invitation, with_one), "feed": _feed()}


@cache
def _composed() -> dict[str, EmailMessage | None]:
    write = composer()
    composed: dict[str, EmailMessage | None] = {}
    for name, message in (*messages(Destination.EMAIL), *account_messages()):
        try:
            mail = write.compose(message)
        except (Unmailable, ValueError):
            composed[name] = None
        else:
            composed[name] = received(mail)
    return composed


def _grouped(structure: Callable[[EmailMessage], Any], mails: Mapping[str, EmailMessage | None]) -> dict[str, Any]:
    groups: dict[str, dict[str, Any]] = {}
    none = []
    for name, mail in mails.items():
        if mail is None:
            none.append(name)
            continue
        made = structure(mail)
        groups.setdefault(repr(made), {"of": [], "is": made})["of"].append(name)
    return {"structures": list(groups.values()), "none": none}


def _mail(mail: EmailMessage) -> dict[str, Any]:
    return {"headers": [name for name in mail if not name.startswith(("Content-", "MIME-"))], "part": _part(mail)}


def _part(part: EmailMessage) -> Any:
    """Type, parameters but for boundaries, disposition, encoding and the parts within."""
    parameters = {name: value for name, value in part["Content-Type"].params.items() if name != "boundary"}
    own: dict[str, Any] = {"type": part.get_content_type(), **parameters}
    if part.get_content_disposition():
        own["disposition"] = part["Content-Disposition"].content_disposition
        own["filename"] = part.get_filename()
    if part.is_multipart():
        own["parts"] = [_part(cast(EmailMessage, each)) for each in part.iter_parts()]
    return own


def _invitation(mail: EmailMessage) -> Any:
    calendars = [
        _component(cast(bytes, part.get_payload(decode=True)).decode())
        for part in mail.walk()
        if part.get_content_type() in {"text/calendar", "application/ics"}
    ]
    assert calendars == [calendars[0]] * 2, "the attachment is the invitation"
    return calendars[0]


def _feed() -> Any:
    entries = [
        FeedEntry(kind, id_, "Yoga", "Slow", "Booking 1", MOMENT, MOMENT, place, link, tentative, 3, MOMENT, uid)
        for kind, id_ in ((EntryKind.PLACE, "12"), (EntryKind.SESSION, str(UUID(int=1))), (EntryKind.EVENT, "7"))
        for place, link, tentative, uid in (
            ("Studio B", "https://meet.example.com/abc", True, None),
            (None, None, False, "stored@example.com"),
        )
    ]
    text = IcsWriter("https://book.example.org")._write(entries)  # its public method needs a loop, and adds only that
    return _component(text)


def _component(text: str) -> dict[str, Any]:
    """Properties in the order of the text, with parameters; texts and names of people left out."""
    top: dict[str, Any] = {}
    within: list[dict[str, Any]] = [top]
    for line in Contentlines.from_ical(text):  # type: ignore[no-untyped-call]
        if not line:
            continue
        name, parameters, value = line.parts()
        if name == "BEGIN":
            within.append({"name": str(value), "properties": []})
            within[-2].setdefault("components", []).append(within[-1])
        elif name == "END":
            within.pop()
        else:
            shown = [f"{key}={'' if key == 'CN' else each}" for key, each in sorted(parameters.items())]
            within[-1]["properties"].append(";".join([name, *shown]) + ("" if name in _PROSE else f":{value}"))
    [calendar] = top["components"]
    return cast(dict[str, Any], calendar)


def _claim(action: str | None, variant: str) -> MailClaim:
    body = a_notification(**({} if action is None else {"action": action}))
    if action == "event_cancelled":
        body |= {"booking_id": None, "user": None}
    if variant and body["user"]:
        body["user"] = body["user"] | {"email": None}
    return MailClaim(
        id=1,
        mail_id=UUID(int=1),
        notification=json_values.convert(body, Notification),
        received_at=MOMENT,
        recipient_name="John Facilitator",
        recipient_email="john@example.com",
        attempts=1,
    )
