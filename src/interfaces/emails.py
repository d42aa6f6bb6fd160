"""Addresses as people type them. The rules are those of `servicekit.mailboxes`, which the CRM has, too."""

from domain.errors import Invalid
from servicekit.mailboxes import UnusableAddress, new_address, same_spelling


def email_address(text: str) -> str:
    """The address of a new account in its one spelling. Raises `Invalid` naming the field `email`."""
    try:
        return new_address(text)
    except UnusableAddress as error:
        raise Invalid({"email": str(error)}) from None


def account_address(text: str) -> str:
    """The address of an account that may be older than the rules for new ones. Raises `Invalid` as `email_address`."""
    try:
        return same_spelling(text)
    except UnusableAddress as error:
        raise Invalid({"email": str(error)}) from None


def plausible_email_address(text: str) -> str | None:
    """As `account_address`, for a login: nonsense is the address of no account, not an error."""
    try:
        return account_address(text)
    except Invalid:
        return None
