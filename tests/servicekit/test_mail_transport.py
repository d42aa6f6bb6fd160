"""The address of a mail server, and the login at one. tests/integration/test_mail_sent.py sends mails."""

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from servicekit.mail_transport import LoginRefused, MailNotSent, SmtpTransport
from servicekit.smtp_server import SmtpServer, smtp_server
from tests.support.servers import free_port


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail", SmtpServer(host="mail", port=25)),
        ("smtp://mail:2525", SmtpServer(host="mail", port=2525)),
        ("smtp://mail?starttls=1", SmtpServer(host="mail", port=587, starttls=True)),
        ("smtp://mail?starttls=false", SmtpServer(host="mail", port=25, starttls=False)),
        ("smtps://mail", SmtpServer(host="mail", port=465, tls=True, starttls=False)),
        ("smtps://mail?starttls=0", SmtpServer(host="mail", port=465, tls=True, starttls=False)),
        (
            "smtp://u%40x:p%2Fw@mail:2525?starttls=1",
            SmtpServer(host="mail", port=2525, username="u@x", password="p/w", starttls=True),
        ),
        ("smtp://[::1]:2525/", SmtpServer(host="::1", port=2525)),
    ],
)
def test_url_names_server_login_and_encryption(url: str, server: SmtpServer) -> None:
    assert smtp_server(url) == server
    assert "p/w" not in repr(smtp_server(url))


@pytest.mark.parametrize(
    "url",
    [
        "smtp://",
        "http://u:secret-word@h",
        "mail.example.com",
        "smtp://h:port",
        "smtp://h:0",
        "smtp://u:secret-word@[h",
        "smtp://h/path",
        "smtp://h?starttls=maybe",
        "smtp://h?starttls",
        "smtp://h?tls=1",
        "smtps://h?starttls=1",
    ],
)
def test_invalid_url_is_rejected_in_one_line_without_its_secret(url: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        smtp_server(url)
    assert "secret-word" not in str(refused.value)


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
    return AuthResult(success=given == LoginPassword(b"ada", b"right"), handled=False)


async def test_login_is_checked_without_a_mail() -> None:
    port = free_port()
    controller = Controller(
        Sink(), hostname="127.0.0.1", port=port, authenticator=_authenticate, auth_require_tls=False
    )
    controller.start()
    try:
        await SmtpTransport(smtp_server(f"smtp://ada:right@127.0.0.1:{port}")).check_login()
        with pytest.raises(LoginRefused, match=r"^535 ") as refused:
            await SmtpTransport(smtp_server(f"smtp://ada:wrong@127.0.0.1:{port}")).check_login()
        assert (refused.value.permanent, refused.value.destination_fault) == (False, True)
    finally:
        controller.stop()
    with pytest.raises(MailNotSent) as unavailable:
        await SmtpTransport(smtp_server(f"smtp://ada:right@127.0.0.1:{port}")).check_login()
    assert not isinstance(unavailable.value, LoginRefused)
    assert unavailable.value.destination_fault
