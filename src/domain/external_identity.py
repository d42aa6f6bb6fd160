"""Who somebody is according to Google, and when that makes them the owner of an account here."""

from dataclasses import dataclass, replace

from domain.accounts import MAX_NAME, User
from domain.errors import Conflict, Forbidden, Unauthenticated, Unavailable
from servicekit.text import clean_line, has_visible


class GoogleNotConfigured(Unavailable):
    code = "google_not_configured"
    message = "Google login is not configured"

    def __init__(self) -> None:
        super().__init__(retry_after=None)


class GoogleUnavailable(Unavailable):
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


class OtherGoogleAccount(Forbidden):
    code = "other_google_account"
    message = "The account with this e-mail address signs in with another Google account"


class AccountDeactivated(Forbidden):
    code = "account_deactivated"
    message = "This account is deactivated"


class GoogleAccountTaken(Conflict):
    code = "google_account_taken"
    message = "This Google account signs in to another account"


@dataclass(frozen=True, slots=True)
class GoogleIdentity:
    """What a verified ID token says. `subject` never changes and is never given to anybody else, an e-mail address may
    be (Google, "OpenID Connect": use `sub`). `email` is in its one spelling."""

    subject: str
    email: str | None
    email_verified: bool
    name: str | None
    picture: str | None


def linked(user: User, identity: GoogleIdentity) -> User:
    """The account of this e-mail address, now signing in with Google.

    Raises when Google does not vouch for the address, or when the account's proven owner uses another Google account.
    Whoever made an account with an address they never proved loses it to the one who does: a Google account linked
    by them is replaced; where `proves_owner`, all other access ends, too (Sudhodanan and Paverd, "Pre-hijacked
    accounts", 2022).
    """
    if not identity.email_verified:
        raise EmailNotVerified
    if user.is_verified and user.google_id is not None:
        raise OtherGoogleAccount
    return replace(
        user,
        google_id=identity.subject,
        profile_picture=identity.picture or user.profile_picture,
        is_verified=True,
    )


def proves_owner(user: User, identity: GoogleIdentity) -> bool:
    """Whether the identity proves the account's address for the first time: nobody has until now."""
    return not user.is_verified and identity.email_verified and identity.email == user.email


def returning(user: User, identity: GoogleIdentity) -> User:
    """The account that has signed in with this Google account before. Its e-mail address stays its own, even when
    Google's is another by now."""
    return replace(
        user,
        profile_picture=identity.picture or user.profile_picture,
        is_verified=user.is_verified or proves_owner(user, identity),
    )


def display_name(*claimed: str | None) -> str:
    """The first of the names that a reader can see, on one line and as long as an account's name may be."""
    for name in claimed:
        shown = clean_line(name or "", at_most=MAX_NAME, end="")
        if has_visible(shown):
            return shown
    return "Google user"
