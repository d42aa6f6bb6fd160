"""Failures of deliveries.

DeliveryError
├── Refused           this delivery fails permanently
│   └── Unsendable    this delivery was not sent: no information about the destination
├── Deferred          this delivery failed temporarily, others may succeed
└── DestinationUnavailable   no delivery to the destination can succeed now
"""

from __future__ import annotations

from datetime import timedelta


class DeliveryError(Exception):
    """The delivery was not accepted. The message is for the row's `response`."""


class Refused(DeliveryError):
    """The delivery fails permanently."""


class Unsendable(Refused):
    """The delivery cannot be sent."""


class Deferred(DeliveryError):
    """The delivery failed temporarily; others may succeed. `after`: the delay that the destination requested."""

    def __init__(self, reason: str, after: timedelta = timedelta()) -> None:
        super().__init__(reason)
        self.after = after


class DestinationUnavailable(DeliveryError):
    """No delivery can succeed now: the destination is unavailable, or its settings are wrong."""
