"""Return addresses of checkouts, and the payment's status that they show.

A return from a gateway does not prove a payment: the gateway's webhook does. The status is the stored one, and
`pending` means that the confirmation has not arrived yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from urllib.parse import unquote_plus, urlencode

from domain.errors import Invalid
from domain.payments import UNPAID, PaymentStatus

LOOKS_BEFORE_FAILED = 5
"""A failed attempt may be older than the success that the gateway has just shown to the buyer, whose webhook can take
some seconds. A failure is therefore shown only after the page was loaded this often."""


class Outcome(StrEnum):
    """Which of a checkout's two return addresses was opened."""

    SUCCESS = "success"
    CANCELLED = "cancelled"


class ReturnStatus(StrEnum):
    """The `status` in return addresses. The first four have the meaning of the payment status of the same name."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"
    REFUNDED = "refunded"
    UNPAID = "unpaid"
    """The buyer left the checkout without paying; the booking is held for them."""
    ENDED = "ended"
    """The booking was cancelled, or its hold ended without a payment."""


def return_status(
    payment_status: PaymentStatus,
    *,
    is_cancelled: bool,
    hold_until: datetime | None,
    now: datetime,
    has_succeeded: bool,
    look: int = 0,
) -> ReturnStatus:
    """`has_succeeded`: the gateway has sent the buyer to the address for a success. `look`: how often the page was
    shown before."""
    if payment_status is PaymentStatus.REFUNDED:
        return ReturnStatus.REFUNDED
    if is_cancelled:
        return ReturnStatus.ENDED
    if payment_status not in UNPAID:
        return ReturnStatus.COMPLETED
    if hold_until is not None and hold_until <= now:
        return ReturnStatus.ENDED
    if payment_status is PaymentStatus.FAILED and (not has_succeeded or look >= LOOKS_BEFORE_FAILED):
        return ReturnStatus.FAILED
    return ReturnStatus.PENDING if has_succeeded else ReturnStatus.UNPAID


@dataclass(frozen=True, slots=True)
class ReturnUrls:
    """The addresses of front ends that buyers are sent to. A request names one of `allowed`, character by character
    (RFC 9700, 4.1.3: anything looser makes an open redirect); without one it is `default`, None for our own page."""

    default: str | None = None
    allowed: frozenset[str] = field(default_factory=frozenset)

    def require_allowed(self, return_url: str | None) -> None:
        """Raises `Invalid`."""
        if return_url is not None and not self._is_allowed(return_url):
            raise Invalid({"return_url": "Is not one of the allowed addresses, character by character"})

    def of(self, stored: str | None) -> str | None:
        """A stored address counts for as long as it is allowed."""
        return stored if stored is not None and self._is_allowed(stored) else self.default

    def _is_allowed(self, return_url: str) -> bool:
        return return_url in self.allowed or return_url == self.default


NO_RETURN_URLS = ReturnUrls()


def with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    """The address with those query parameters. Its other parameters and its fragment stay as they are, byte by byte;
    parameters of the same names are replaced."""
    rest, hash_sign, fragment = url.partition("#")
    path, _, query = rest.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) not in parameters]
    return f"{path}?{'&'.join([*kept, urlencode(parameters)])}{hash_sign}{fragment}"
