"""Failures of deliveries.

DeliveryError
├── Refused           this will never be taken
│   └── Unsendable    this was not sent: no information about the destination
├── Deferred          this was not taken now, others may be
└── DestinationUnavailable   nothing can be taken now
"""

from __future__ import annotations

from datetime import timedelta


class DeliveryError(Exception):
    """It was not taken. The message is for the row's `response`."""


class Refused(DeliveryError):
    """It will never be taken."""


class Unsendable(Refused):
    """It cannot be sent as it is."""


class Deferred(DeliveryError):
    """It was not taken now; others may be. `after`: the destination asked to be left alone so long."""

    def __init__(self, reason: str, after: timedelta = timedelta()) -> None:
        super().__init__(reason)
        self.after = after


class DestinationUnavailable(DeliveryError):
    """Nothing can be taken now: the destination is away, or its settings are wrong."""
