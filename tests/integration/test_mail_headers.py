"""Remembered mail headers, the backend's and the CRM's, held against the standard library's."""

from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from typing import cast

import pytest

import crm.mail_headers
import infrastructure.deliveries.mail_headers


@pytest.fixture(params=[crm.mail_headers, infrastructure.deliveries.mail_headers])
def headers(request: pytest.FixtureRequest) -> HeaderRegistry:
    remembering: HeaderRegistry = request.param.RememberingHeaders()
    return remembering


@pytest.mark.parametrize("text", ["plain", "Grüße", "x" * 1_200])
def test_remembered_headers_are_those_of_the_standard_library(headers: HeaderRegistry, text: str) -> None:
    remembering = SMTP.clone(header_factory=headers)

    def written(mail: EmailMessage) -> bytes:
        mail["Subject"] = text[:40]
        mail.set_content(text)
        mail.add_alternative(f"<p>{text}</p>", subtype="html")
        mail.add_attachment(text.encode(), maintype="text", subtype="calendar", filename="invite.ics")
        for part, boundary in ((mail, "outer"), (mail.get_payload(0), "inner")):
            cast(EmailMessage, part).set_boundary(boundary)
        return bytes(mail)

    for _ in range(2):
        assert written(EmailMessage(policy=remembering)) == written(EmailMessage(policy=SMTP))


def test_a_header_with_a_line_break_is_refused_however_often_it_comes(headers: HeaderRegistry) -> None:
    remembering = SMTP.clone(header_factory=headers)
    for _ in range(2):
        with pytest.raises(ValueError, match="linefeed"):
            EmailMessage(policy=remembering)["Content-Type"] = "text/plain\r\nBcc: all@example.com"
