"""Addresses as people type them."""

from email_validator import EmailNotValidError, validate_email

from domain.errors import Invalid


def email_address(text: str) -> str:
    """The address in its one spelling: normalised and lower case. Raises `Invalid` naming the field `email`."""
    try:
        checked = validate_email(text.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise Invalid({"email": str(error)}) from None
    return checked.normalized.lower()


def plausible_email_address(text: str) -> str | None:
    """As `email_address`, for somebody who claims to have an account: nonsense is nobody's, not an error."""
    try:
        return email_address(text)
    except Invalid:
        return None
