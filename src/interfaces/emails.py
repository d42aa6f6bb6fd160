"""Validation of entered e-mail addresses, by the rules of `servicekit.mailboxes`, which the CRM uses as well."""

from domain.errors import Invalid
from servicekit.mailboxes import UnusableAddress, new_address, same_spelling


def email_address(text: str) -> str:
    """The normalised address of a new account. Raises `Invalid` naming the field `email`."""
    try:
        return new_address(text)
    except UnusableAddress as error:
        raise Invalid({"email": str(error)}) from None


def account_address(text: str) -> str:
    """The normalised address of an account that may be older than the rules for new ones. Raises `Invalid` as
    `email_address`."""
    try:
        return same_spelling(text)
    except UnusableAddress as error:
        raise Invalid({"email": str(error)}) from None


def plausible_email_address(text: str) -> str | None:
    """As `account_address`, for a login: an invalid address returns None, because no account has it."""
    try:
        return account_address(text)
    except Invalid:
        return None
