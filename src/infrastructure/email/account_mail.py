"""Content of mails about accounts."""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from domain.account_urls import AccountUrls
from domain.outbox import Message, MessageType
from infrastructure.delivery.payloads import make_readable
from infrastructure.email.content import Button, EmailContent, Unmailable
from servicekit.local_times import instant, reading_zone


class Owner(msgspec.Struct, frozen=True):
    name: str
    email: str

    def __post_init__(self) -> None:
        make_readable(self, ["name"])


class AccountPayload(msgspec.Struct, frozen=True):
    person: Owner


def _approved(message: Message, _urls: AccountUrls) -> EmailContent:
    payload = msgspec.convert(message.payload, AccountPayload)
    return EmailContent(
        recipient=payload.person,
        subject="You are a facilitator now",
        headline="Your registration as a facilitator is approved",
        sentence="You can create events and offer appointments. Please log in again first.",
    )


class TokenPayload(AccountPayload, frozen=True):
    """`token` is added at send time."""

    token: str | None = None


def _verification(message: Message, urls: AccountUrls) -> EmailContent:
    person, token = _with_token(message)
    return EmailContent(
        recipient=person,
        subject="Please confirm your e-mail address",
        headline="Please confirm your e-mail address",
        sentence=(
            "An account was registered with this address. If that was you, please confirm the address by the link "
            "within 24 hours. If it was not you, you can ignore this mail; please do not use the link."
        ),
        button=Button("Confirm the address", urls.verify(token)),
    )


def _reset(message: Message, urls: AccountUrls) -> EmailContent:
    person, token = _with_token(message)
    return EmailContent(
        recipient=person,
        subject="Set a new password",
        headline="Set a new password",
        sentence=(
            "A new password was requested for the account with this address. The link sets one within an hour. If you "
            "did not request it, you can ignore this mail: your password has not changed."
        ),
        button=Button("Set a new password", urls.reset(token)),
    )


def _password_changed(message: Message, _urls: AccountUrls) -> EmailContent:
    payload = msgspec.convert(message.payload, AccountPayload)
    return EmailContent(
        recipient=payload.person,
        subject="Your password was changed",
        headline="Your password was changed",
        sentence=(
            "Your account has a new password, and every login has ended. If that was not you, please request a new "
            "password for this address now."
        ),
    )


def _email_change_requested(message: Message, urls: AccountUrls) -> EmailContent:
    person, token = _with_token(message)
    return EmailContent(
        recipient=person,
        subject="Your account is about to get another e-mail address",
        headline="Your account is about to get another e-mail address",
        sentence=(
            "A change of the e-mail address of your account was requested. If that was you, you can ignore this mail. "
            "If it was not you, please use the link within 72 hours: it keeps this address or restores it, ends every "
            "login, and you can set a new password."
        ),
        button=Button("That was not me: undo the change", urls.undo_email_change(token)),
    )


def _email_change_confirmation(message: Message, urls: AccountUrls) -> EmailContent:
    """Without a token, another account has the address."""
    payload = msgspec.convert(message.payload, TokenPayload)
    if payload.token is None:
        return EmailContent(
            recipient=payload.person,
            subject="This e-mail address belongs to an account",
            headline="This e-mail address belongs to an account",
            sentence=(
                "This address was entered as the new e-mail address of another account. It belongs to an account "
                "already, so nothing was changed. If that was you, please log in to that account, or request a new "
                "password for it."
            ),
        )
    return EmailContent(
        recipient=payload.person,
        subject="Please confirm your new e-mail address",
        headline="Please confirm your new e-mail address",
        sentence=(
            "This address was entered as the new e-mail address of an account. If that was you, please confirm it by "
            "the link within 24 hours. If it was not you, you can ignore this mail; please do not use the link."
        ),
        button=Button("Confirm the new address", urls.change_email(payload.token)),
    )


def _email_changed(message: Message, _urls: AccountUrls) -> EmailContent:
    payload = msgspec.convert(message.payload, AccountPayload)
    return EmailContent(
        recipient=payload.person,
        subject="Your account has another e-mail address",
        headline="Your account has another e-mail address",
        sentence=(
            "Your account has another e-mail address now, and you will get no more mails to this one. If that was not "
            "you, please use the link of our mail about the request, which undoes the change."
        ),
    )


def _second_factor_changed(message: Message, _urls: AccountUrls) -> EmailContent:
    payload = msgspec.convert(message.payload, AccountPayload)
    return EmailContent(
        recipient=payload.person,
        subject="Your second factors were changed",
        headline="Your second factors were changed",
        sentence=(
            "A second factor of your account was added or removed, or its recovery codes were replaced. If that was "
            "not you, please set a new password now and look at the second factors of the account."
        ),
    )


class NewNetworkPayload(AccountPayload, frozen=True):
    network: str
    timezone: str | None = None


def _login_from_new_network(message: Message, _urls: AccountUrls) -> EmailContent:
    payload = msgspec.convert(message.payload, NewNetworkPayload)
    return EmailContent(
        recipient=payload.person,
        subject="New login to your account",
        headline="New login to your account",
        sentence=(
            "There was a login to your account from a network that has not been used for it in the last 90 days. If "
            "that was you, you can ignore this mail. If it was not you, please set a new password now: it ends every "
            "login."
        ),
        details={
            "When": instant(message.occurred_at, reading_zone(payload.timezone)),
            "Network": payload.network,
        },
    )


class ErasurePayload(AccountPayload, frozen=True):
    due_at: datetime
    timezone: str | None = None


def _erasure_requested(message: Message, _urls: AccountUrls) -> EmailContent:
    payload = msgspec.convert(message.payload, ErasurePayload)
    waits = payload.due_at > message.occurred_at
    return EmailContent(
        recipient=payload.person,
        subject="Your account is being erased" if not waits else "Your account is going to be erased",
        headline="Your account is being erased" if not waits else "Your account is going to be erased",
        sentence=(
            "Every login has ended. What you have booked is cancelled by the refund policies, and you get a mail about "
            "each cancellation. Then your personal data is deleted; records of payments are kept without your name. "
            + (
                "Until the time below the operator of this service can restore the account."
                if waits
                else "This is the last mail about your account."
            )
        ),
        details={"Erased from": instant(payload.due_at, reading_zone(payload.timezone))} if waits else {},
    )


def _with_token(message: Message) -> tuple[Owner, str]:
    try:
        payload = msgspec.convert(message.payload, TokenPayload)
    except msgspec.ValidationError:
        raise Unmailable("this message has no recipient") from None
    if payload.token is None:
        raise Unmailable("this message has no token")
    return payload.person, payload.token


ACCOUNT_EMAILS: Mapping[MessageType, Callable[[Message, AccountUrls], EmailContent]] = {
    MessageType.FACILITATOR_APPROVED: _approved,
    MessageType.EMAIL_VERIFICATION: _verification,
    MessageType.PASSWORD_RESET_REQUESTED: _reset,
    MessageType.PASSWORD_CHANGED: _password_changed,
    MessageType.EMAIL_CHANGE_REQUESTED: _email_change_requested,
    MessageType.EMAIL_CHANGE_CONFIRMATION: _email_change_confirmation,
    MessageType.EMAIL_CHANGED: _email_changed,
    MessageType.LOGIN_FROM_NEW_NETWORK: _login_from_new_network,
    MessageType.SECOND_FACTOR_CHANGED: _second_factor_changed,
    MessageType.ERASURE_REQUESTED: _erasure_requested,
}
"""Each raises `Unmailable`."""
