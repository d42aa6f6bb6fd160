"""Cached mail headers are identical to those of the standard library."""

from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from typing import cast

import pytest

from servicekit.mail_headers import CachingHeaderRegistry


@pytest.fixture
def headers() -> HeaderRegistry:
    return CachingHeaderRegistry()


@pytest.mark.parametrize("text", ["plain", "Grüße", "x" * 1_200])
def test_cached_headers_are_those_of_the_standard_library(headers: HeaderRegistry, text: str) -> None:
    cached = SMTP.clone(header_factory=headers)

    def written(mail: EmailMessage) -> bytes:
        mail["Subject"] = text[:40]
        mail.set_content(text)
        mail.add_alternative(f"<p>{text}</p>", subtype="html")
        mail.add_attachment(text.encode(), maintype="text", subtype="calendar", filename="invite.ics")
        for part, boundary in ((mail, "outer"), (mail.get_payload(0), "inner")):
            cast(EmailMessage, part).set_boundary(boundary)
        return bytes(mail)

    for _ in range(2):
        assert written(EmailMessage(policy=cached)) == written(EmailMessage(policy=SMTP))


def test_a_header_with_a_line_break_is_refused_however_often_it_comes(headers: HeaderRegistry) -> None:
    cached = SMTP.clone(header_factory=headers)
    for _ in range(2):
        with pytest.raises(ValueError, match="linefeed"):
            EmailMessage(policy=cached)["Content-Type"] = "text/plain\r\nBcc: all@example.com"
