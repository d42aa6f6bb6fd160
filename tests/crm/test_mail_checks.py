"""Trying the mail server out: a mail on demand, and a login that is real."""

import email
import email.policy
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.crm.parts import LOGIN, MailServer, running_crm, settings_for

MAIL = {"to_email": "test@example.com", "subject": "Test Email", "html_content": "<h1>Test</h1>\n<p>&amp; ünï</p>\n"}


async def test_html_of_a_test_mail_arrives_unchanged(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    answer = await crm.post("/test-email", json=MAIL)
    assert answer.status_code == 200
    assert answer.json() == {"message": "Test email sent successfully", "email_sent": True}
    [mail] = mail_server.mails
    assert (mail["To"], mail["Subject"]) == ("test@example.com", "Test Email")
    assert mail.get_content_type() == "text/html"
    assert mail.get_content().replace("\r\n", "\n") == MAIL["html_content"]


async def test_only_the_address_is_required(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    assert (await crm.post("/test-email", json={"to_email": "test@example.com"})).status_code == 200
    assert mail_server.mails[0]["Subject"] == "Test Email"


async def test_without_smtp_server_the_test_mail_is_a_file(dsn: str, tmp_path: Path) -> None:
    async with running_crm(settings_for(dsn, CONVENE_DATA=str(tmp_path))) as client:
        assert (await client.post("/test-email", json=MAIL)).json()["email_sent"] is True
    [path] = (tmp_path / "mail").glob("*.eml")
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert mail["To"] == "test@example.com"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to_email": "nobody"}, "to_email"),
        ({"to_email": ""}, "to_email"),
        ({"to_email": "a@example.com\r\nBcc: b@example.com"}, "to_email"),
        ({"to_email": "a@example.com, b@example.com"}, "to_email"),
        ({"to_email": "A <a@example.com>"}, "to_email"),
        ({"to_email": 7}, "to_email"),
        ({"subject": "Hello\r\nBcc: b@example.com"}, "subject"),
        ({"subject": "Hello\u2028there"}, "subject"),
        ({"subject": ""}, "subject"),
        ({"subject": "x" * 256}, "subject"),
        ({"subject": ["x"]}, "subject"),
        ({"html_content": 7}, "html_content"),
    ],
)
async def test_invalid_field_returns_400_with_its_name(
    crm: httpx.AsyncClient, mail_server: MailServer, changes: dict[str, object], field: str
) -> None:
    answer = await crm.post("/test-email", json={**MAIL, **changes})
    assert answer.status_code == 400
    assert (answer.json()["error"], answer.json()["details"].keys()) == ("Validation error", {field})
    assert mail_server.offered == 0


async def test_rejected_mail_returns_502_and_deferred_mail_503(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    for verdict, status, code in (("550 no", 502, "email_refused"), ("451 later", 503, "email_not_sent")):
        mail_server.recipient_verdict = verdict
        answer = await crm.post("/test-email", json=MAIL)
        error = answer.json()
        assert (answer.status_code, error["code"], error["email_sent"]) == (status, code, False)
        assert verdict[:3] in error["error"]


async def test_unavailable_mail_server_returns_503(crm: httpx.AsyncClient, mail_server: MailServer) -> None:
    mail_server.stop()
    answer = await crm.post("/test-email", json=MAIL)
    assert (answer.status_code, answer.json()["code"]) == (503, "email_not_sent")


def _address(server: MailServer, user: str, password: str) -> str:
    return f"smtp://{quote(user)}:{quote(password)}@127.0.0.1:{server.port}"


async def _login(dsn: str, tmp_path: Path, smtp_url: str) -> httpx.Response:
    async with running_crm(settings_for(dsn, SMTP_URL=smtp_url, CONVENE_DATA=str(tmp_path))) as client:
        return await client.get("/test-gmail-auth")


async def test_successful_login_at_the_mail_server(dsn: str, mail_server: MailServer, tmp_path: Path) -> None:
    answer = await _login(dsn, tmp_path, _address(mail_server, *LOGIN))
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "Gmail authentication successful",
        "authenticated": True,
        "gmail_user": "studio@example.com",
    }
    assert mail_server.offered == 0


async def test_rejected_login_returns_502(dsn: str, mail_server: MailServer, tmp_path: Path) -> None:
    answer = await _login(dsn, tmp_path, _address(mail_server, LOGIN[0], "wrong-word"))
    error = answer.json()
    assert (answer.status_code, error["code"], error["authenticated"]) == (502, "smtp_login_refused", False)
    assert "535" in error["error"]
    assert "wrong-word" not in answer.text


async def test_login_at_an_unavailable_server_returns_503(dsn: str, mail_server: MailServer, tmp_path: Path) -> None:
    mail_server.stop()
    answer = await _login(dsn, tmp_path, _address(mail_server, *LOGIN))
    assert (answer.status_code, answer.json()["code"]) == (503, "smtp_unavailable")


@pytest.mark.parametrize("smtp_url", ["", "smtp://127.0.0.1:25"])
async def test_without_login_settings_503_names_the_setting(dsn: str, tmp_path: Path, smtp_url: str) -> None:
    answer = await _login(dsn, tmp_path, smtp_url)
    error = answer.json()
    assert (answer.status_code, error["code"]) == (503, "smtp_not_configured")
    assert "SMTP_URL" in error["error"]
