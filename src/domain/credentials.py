"""What gives access to an account, and when which of it ends."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum


class Credential(StrEnum):
    """What was given out or entered, is stored, and gives access to an account or to what it books.

    Access tokens, live connections and pending calendar consents are bound to the account's `token_version`, which
    grows with every `AccessEnd`: they always end.
    """

    LOGINS = "logins"
    """With the refresh tokens of each."""
    PASSWORD = "password"  # noqa: S105 (a name)
    CALENDAR_FEED = "calendar_feed"
    CONNECTED_CALENDARS = "connected_calendars"
    KNOWN_NETWORKS = "known_networks"
    """Networks that logged in: each may try passwords while others are locked out."""
    IDEMPOTENCY_ANSWERS = "idempotency_answers"


KNOWN_NETWORK_LIFETIME = timedelta(days=90)
"""How long a network counts as known after its last login to the account."""


class AccessEnd(StrEnum):
    """Why access ends; stored with each login that ends by it."""

    LOGGED_OUT_EVERYWHERE = "logged out everywhere"
    PASSWORD_CHANGED = "password changed"  # noqa: S105 (a reason)
    ROLE_CHANGED = "role changed"
    DEACTIVATED = "account deactivated"
    ACTIVATED = "account activated"
    ADDRESS_PROVEN = "address proven by its owner with Google"


_BEARERS = frozenset({Credential.LOGINS, Credential.CALENDAR_FEED})

REVOKED: Mapping[AccessEnd, frozenset[Credential]] = {
    AccessEnd.LOGGED_OUT_EVERYWHERE: _BEARERS,
    AccessEnd.PASSWORD_CHANGED: _BEARERS,
    AccessEnd.ROLE_CHANGED: frozenset({Credential.LOGINS}),
    AccessEnd.DEACTIVATED: _BEARERS,
    AccessEnd.ACTIVATED: _BEARERS,
    AccessEnd.ADDRESS_PROVEN: frozenset(Credential),
}
"""A connected calendar stays with its owner through a new password; whoever had the account before its owner proved the
address keeps nothing."""
