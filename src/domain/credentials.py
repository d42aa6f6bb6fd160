"""Credentials of an account, and the events that revoke them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Credential(StrEnum):
    """Stored data that gives access to an account or its bookings, or restricts it.

    Access tokens, live connections, pending logins and pending calendar consents are bound to the account's
    `token_version`, which grows with every `AccessEnd`: they always end.
    """

    LOGINS = "logins"
    """Including their refresh tokens."""
    PASSWORD = "password"  # noqa: S105 (a name)
    ACCOUNT_TOKENS = "account_tokens"
    """Pending links of mails about the account, without those that undo a change of its address."""
    SECOND_FACTORS = "second_factors"
    """With the recovery codes."""
    CALENDAR_FEED = "calendar_feed"
    API_KEYS = "api_keys"
    CONNECTED_CALENDARS = "connected_calendars"
    KNOWN_NETWORKS = "known_networks"
    """Networks that have logged in: each has its own limit of password attempts."""
    IDEMPOTENCY_ANSWERS = "idempotency_answers"


KNOWN_NETWORK_LIFETIME = timedelta(days=90)
"""How long a network counts as known after its last login to the account."""


MOST_NETWORKS_IN_A_DAY = 10
"""After logins from so many within a day the owner gets no mail about another one."""


@dataclass(frozen=True, slots=True)
class NetworksBefore:
    """The known networks of an account before a login. `is_known`: whether that of the login is among them.
    `in_last_day`: the number of those that have logged in within the last day."""

    is_known: bool
    number: int
    in_last_day: int

    def is_unusual(self, account_age: timedelta) -> bool:
        """Whether the owner gets a mail about the login. The first one of an account is usual. An account without a
        known network that is older than networks are kept has most likely been used before."""
        is_first = self.number == 0 and account_age <= KNOWN_NETWORK_LIFETIME
        return not (self.is_known or is_first) and self.in_last_day < MOST_NETWORKS_IN_A_DAY


class AccessEnd(StrEnum):
    """The reason for the end of access; stored with each login that it ends."""

    LOGGED_OUT_EVERYWHERE = "logged out everywhere"
    PASSWORD_CHANGED = "password changed"  # noqa: S105 (a reason)
    PASSWORD_RESET = "password reset"  # noqa: S105 (a reason)
    SECOND_FACTORS_RESET = "second factors reset"
    ROLE_CHANGED = "role changed"
    DEACTIVATED = "account deactivated"
    ACTIVATED = "account activated"
    ADDRESS_PROVEN = "address proven by its owner with Google"
    ADDRESS_PROVEN_BY_RESET = "address proven by its owner with a new password"
    EMAIL_CHANGE_UNDONE = "change of the e-mail address undone"
    ERASURE_REQUESTED = "erasure requested"


_BEARERS = frozenset({Credential.LOGINS, Credential.ACCOUNT_TOKENS, Credential.CALENDAR_FEED})
_WITH_KEYS = _BEARERS | {Credential.API_KEYS}

REVOKED: Mapping[AccessEnd, frozenset[Credential]] = {
    AccessEnd.LOGGED_OUT_EVERYWHERE: _BEARERS,
    AccessEnd.PASSWORD_CHANGED: _BEARERS,
    AccessEnd.PASSWORD_RESET: _WITH_KEYS,
    AccessEnd.SECOND_FACTORS_RESET: _WITH_KEYS | {Credential.SECOND_FACTORS},
    AccessEnd.ROLE_CHANGED: frozenset({Credential.LOGINS, Credential.API_KEYS}),
    AccessEnd.DEACTIVATED: _WITH_KEYS,
    AccessEnd.ACTIVATED: _WITH_KEYS,
    AccessEnd.ADDRESS_PROVEN: frozenset(Credential),
    AccessEnd.ADDRESS_PROVEN_BY_RESET: frozenset(Credential),
    AccessEnd.EMAIL_CHANGE_UNDONE: frozenset(Credential),
    AccessEnd.ERASURE_REQUESTED: _WITH_KEYS | {Credential.IDEMPOTENCY_ANSWERS, Credential.KNOWN_NETWORKS},
}
"""API keys survive a log-out everywhere, and a new password by an owner who knows the present one, as at GitHub and
Stripe: programs go on. A reset answers a loss of control, so keys end with it. They end with another role, because
their scopes would mean something else. Connected calendars and second factors survive a new password. When the owner
proves the address, all earlier access is revoked. An account whose erasure is requested keeps its password, second
factors and calendars until it is erased, so that an operator who withdraws the request restores it; it cannot log in
meanwhile."""
