"""External identities, and the accounts that they sign in to.

Codes and messages of the errors are part of the API, so they name Google, the provider that the API documents.
"""

from dataclasses import dataclass, replace

from domain.accounts import MAX_NAME, User
from domain.errors import Conflict, Forbidden, Unauthenticated, Unavailable
from servicekit.text import clean_line, has_visible


class SignInNotConfigured(Unavailable):
    code = "google_not_configured"
    message = "Google login is not configured"

    def __init__(self) -> None:
        super().__init__(retry_after=None)


class IdentityProviderUnavailable(Unavailable):
    code = "google_away"
    message = "Google cannot be reached just now. Please try again shortly"

    def __init__(self) -> None:
        super().__init__(retry_after=5)


class SignInDenied(Unauthenticated):
    code = "google_denied"
    message = "Google was not allowed to say who you are. Please start again"


class SignInRefused(Conflict):
    code = "google_refused"
    message = "Google did not complete this sign-in. Please start again"


class IdentityNotProven(Unauthenticated):
    code = "google_identity_not_proven"
    message = "What Google sent does not prove who you are. Please start again"


class EmailNotShared(Forbidden):
    code = "google_email_missing"
    message = "Google did not share an e-mail address. Please start again and share it"


class EmailNotVerified(Forbidden):
    code = "google_email_not_verified"
    message = (
        "There is an account with this e-mail address, and Google has not verified that it is yours. "
        "Please log in with the password"
    )


class OtherExternalAccount(Forbidden):
    code = "other_google_account"
    message = "The account with this e-mail address signs in with another Google account"


class AccountDeactivated(Forbidden):
    code = "account_deactivated"
    message = "This account is deactivated"


class ExternalAccountTaken(Conflict):
    code = "google_account_taken"
    message = "This Google account signs in to another account"


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """The claims of a verified ID token. `provider` is the identity provider's name, such as `google`. `subject` is the
    person's id there: it never changes and is never reused, unlike an e-mail address (OpenID Connect Core 1.0, 5.7).
    `email` is normalised."""

    provider: str
    subject: str
    email: str | None
    email_verified: bool
    name: str | None
    picture: str | None


def linked(user: User, identity: ExternalIdentity) -> User:
    """Links the account with the identity's e-mail address to this identity.

    Raises `EmailNotVerified` when the provider has not verified the address, and `OtherExternalAccount` when the
    account's proven owner uses another identity. An account whose address was never proven passes to the person who
    proves it: an identity linked before is replaced; where `proves_ownership`, all other access ends, too
    (Sudhodanan and Paverd, "Pre-hijacked accounts", 2022).
    """
    if not identity.email_verified:
        raise EmailNotVerified
    if user.is_verified and user.external_id is not None:
        raise OtherExternalAccount
    return replace(
        user,
        external_id=identity.subject,
        profile_picture=identity.picture or user.profile_picture,
        is_verified=True,
    )


def proves_ownership(user: User, identity: ExternalIdentity) -> bool:
    """Whether the identity is the first proof of the account's e-mail address."""
    return not user.is_verified and identity.email_verified and identity.email == user.email


def signed_in_again(user: User, identity: ExternalIdentity) -> User:
    """Updates the account that is linked to this identity. The account's e-mail address stays, even where the provider
    now has another one."""
    return replace(
        user,
        profile_picture=identity.picture or user.profile_picture,
        is_verified=user.is_verified or proves_ownership(user, identity),
    )


def display_name(*claimed: str | None) -> str:
    """The first of these names with a visible character, on one line and at most `MAX_NAME` long."""
    for name in claimed:
        shown = clean_line(name or "", at_most=MAX_NAME, end="")
        if has_visible(shown):
            return shown
    return "Google user"
