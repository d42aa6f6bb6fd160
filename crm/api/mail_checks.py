"""Checks of the mail transport: contract B's endpoints 26 and 27."""

from __future__ import annotations

import asyncio
import unicodedata
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post

from crm.api.bodies import read_json_object
from crm.api.errors import ErrorResponse, invalid
from crm.api.parts import parts_of
from crm.notifications import InvalidFields, MissingFields, field_error
from servicekit import json_values
from servicekit.mail_transport import LoginRefused, MailNotSent, SmtpTransport
from servicekit.mailboxes import UnusableAddress, mailbox, new_address

CHECK_SECONDS = 20.0


class TestMail(msgspec.Struct):
    __test__ = False

    to_email: str
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] = "Test Email"
    html_content: str = "<p>This is a test email.</p>"


class TestMailSent(msgspec.Struct):
    __test__ = False

    message: Literal["Test email sent successfully"] = "Test email sent successfully"
    email_sent: Literal[True] = True


class LoginAccepted(msgspec.Struct):
    gmail_user: str
    message: Literal["Gmail authentication successful"] = "Gmail authentication successful"
    authenticated: Literal[True] = True


@post("/test-email", operation_id="sendTestEmail", status_code=200)
async def send_test_email(request: Request[Any, Any, Any]) -> TestMailSent:
    """Sends one mail now, by the same transport as all mails: without `SMTP_URL` it is written as a file.

    Returns 502 if the mail server rejects it, 503 if the server is unreachable or reports a temporary failure.
    """
    body, _ = await read_json_object(request)
    parts = parts_of(request)
    mail = _read(body, smtputf8=parts.settings.mail_smtputf8)
    message = parts.writer.test(mail.to_email, mail.subject, mail.html_content, parts.clock.now())
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await parts.transport.send(message)
    except (MailNotSent, TimeoutError) as error:
        if isinstance(error, MailNotSent) and error.permanent:
            refused = f"The mail server refused the mail: {error}"
            raise check_failed(502, "email_refused", refused, email_sent=False) from error
        reason = str(error) or "no answer in time"
        raise check_failed(503, "email_not_sent", f"The mail was not taken: {reason}", email_sent=False) from error
    return TestMailSent()


@get("/test-gmail-auth", operation_id="testMailLogin")
async def test_gmail_auth(request: Request[Any, Any, Any]) -> LoginAccepted:
    """Logs in to the mail server of `SMTP_URL`, Gmail's or another, and disconnects.

    Returns 503 if `SMTP_URL` has no login or the server is unreachable, 502 if the server rejects the login.
    """
    server = parts_of(request).settings.smtp
    if server is None or server.username is None:
        what = "SMTP_URL is not set" if server is None else "SMTP_URL names no user"
        message = f"{what}: give smtp://user:password@host:587?starttls=1"
        raise check_failed(503, "smtp_not_configured", message, authenticated=False)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await SmtpTransport(server).check_login()
    except LoginRefused as error:
        message = f"The mail server refused the login: {error}"
        raise check_failed(
            502, "smtp_login_refused", message, authenticated=False, gmail_user=server.username
        ) from error
    except (MailNotSent, TimeoutError) as error:
        message = f"The mail server cannot be used: {str(error) or 'no answer in time'}"
        raise check_failed(503, "smtp_unavailable", message, authenticated=False, gmail_user=server.username) from error
    return LoginAccepted(gmail_user=server.username)


def _read(body: dict[str, Any], *, smtputf8: bool) -> TestMail:
    if body.get("to_email") is None:
        raise MissingFields(["to_email"])
    try:
        mail = json_values.convert({name: value for name, value in body.items() if value is not None}, TestMail)
    except msgspec.ValidationError as error:
        raise InvalidFields(field_error(error)) from None
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in mail.subject):
        raise invalid({"subject": "Line breaks and control characters are not allowed"})
    try:
        mail.to_email = new_address(mail.to_email)
        mailbox("", mail.to_email, smtputf8=smtputf8)
    except UnusableAddress as error:
        raise invalid({"to_email": str(error)}) from None
    return mail


def check_failed(status: int, code: str, message: str, **extra: bool | str) -> ErrorResponse:
    words = " ".join(message.encode("utf-8", "replace").decode().split())
    response = ErrorResponse(status, code, words)
    response.body |= extra
    return response
