"""E-mail addresses: validation, normalisation, and their form in mails.

Every function checks the length first, because the time of normalisation grows with the square of the length.
"""

import re
import unicodedata
from email.headerregistry import Address
from functools import lru_cache

import idna

LONGEST_INPUT = 320
"""Characters that are processed: 64 before the @ and 255 after it (RFC 5321, 4.5.3.1)."""
LONGEST_ADDRESS = 254
"""Octets of an address in a mail, its domain in ASCII (RFC 3696, erratum 1690)."""
LONGEST_LOCAL_PART = 64
"""Octets (RFC 5321, 4.5.3.1.1)."""

_ASCII_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_MAILBOX = re.compile(r"\s*(?P<name>[^<>]*)<\s*(?P<address>[^<>\s]+)\s*>\s*")


class UnusableAddress(ValueError):
    """Not an address, or one to which no mail can be sent. The message has the reason."""


def same_spelling(text: str) -> str:
    """The normalised address by which accounts are stored and found: NFC, lower case, the domain in Unicode (IDNA
    2008).

    Accepts all addresses that older versions accepted, so that their accounts are found. Raises `UnusableAddress`.
    """
    text = text.strip()
    if len(text) > LONGEST_INPUT:
        raise UnusableAddress(f"The email address is too long: at most {LONGEST_ADDRESS} characters.")
    from email_validator import EmailNotValidError, validate_email  # 0.02 s of CPU, which few processes need

    try:
        return validate_email(text, check_deliverability=False, test_environment=True).normalized.lower()
    except (EmailNotValidError, ValueError) as error:
        raise UnusableAddress(str(error)) from None


def new_address(text: str) -> str:
    """As `same_spelling`, for a new address: at most 64 octets before the @, and no compatibility characters there
    (`ﬁ`, `ｋ`; UTS 39, 3.3)."""
    address = same_spelling(text)
    local, _, domain = address.rpartition("@")
    if len(local.encode()) > LONGEST_LOCAL_PART:
        raise UnusableAddress(f"The email address is too long before the @-sign: at most {LONGEST_LOCAL_PART} bytes.")
    if unicodedata.normalize("NFKC", local) != local:
        raise UnusableAddress("The email address has a compatibility character before the @-sign: use a plain letter.")
    if len(local.encode()) + 1 + len(ascii_domain(domain)) > LONGEST_ADDRESS:
        raise UnusableAddress(f"The email address is too long: at most {LONGEST_ADDRESS} bytes.")
    return address


def is_mailable(address: str, *, smtputf8: bool) -> bool:
    """Whether mail can be sent to an address of this form: beyond ASCII before the @ only with SMTPUTF8 (RFC 6531)."""
    return smtputf8 or address.rpartition("@")[0].isascii()


def confusable_form(address: str) -> str:
    """Equal for addresses that look the same or differ only in case: NFKC and case folding before the @."""
    local, _, domain = address.rpartition("@")
    return f"{unicodedata.normalize('NFKC', unicodedata.normalize('NFKC', local).casefold())}@{domain}"


@lru_cache(maxsize=1024)
def ascii_domain(domain: str) -> str:
    """The domain in ASCII: IDNA 2008, mapped by UTS 46 (nontransitional: `ß` and `ς` are separate letters).

    Raises `UnusableAddress`.
    """
    if len(domain) > LONGEST_INPUT:
        raise UnusableAddress("the domain is too long")
    if _ASCII_DOMAIN.fullmatch(domain):
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise UnusableAddress(f"{domain} is no domain: {error}") from None


def mailbox(name: str, address: str, *, smtputf8: bool = False) -> Address:
    """A name and an address for a mail header. No text is parsed. Raises `UnusableAddress`."""
    if len(address) > LONGEST_INPUT:
        raise UnusableAddress("the address is too long")
    local, _, domain = address.strip().rpartition("@")
    if not _LOCAL_PART.fullmatch(local) or any(unicodedata.category(char)[0] in "CZ" for char in local):
        raise UnusableAddress(f"{address!r} is no e-mail address")
    if not is_mailable(address, smtputf8=smtputf8):
        raise UnusableAddress(
            f"{address} has letters beyond ASCII before the @, and the mail transport has no SMTPUTF8"
        )
    try:
        return Address(name, local, ascii_domain(domain))
    except ValueError as error:
        raise UnusableAddress(str(error)) from None


def sender_mailbox(text: str) -> Address:
    """The mailbox in a setting: `bookings@example.com` or `Convene <bookings@example.com>`. Raises
    `UnusableAddress`."""
    match = _MAILBOX.fullmatch(text)
    if match is None:
        return mailbox("", text)
    name = match["name"].strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return mailbox(name, match["address"])
