"""Sessions of accounts: a session is one login with all tokens that are issued for it."""

from dataclasses import dataclass
from datetime import datetime

from domain.accounts import LoginId
from domain.errors import NotFound
from servicekit.text import clean_line

MAX_USER_AGENT = 200


class SessionNotFound(NotFound):
    """One error for a session that does not exist, has ended, or is that of another account."""

    code = "session_not_found"
    message = "Session not found"


@dataclass(frozen=True, slots=True)
class Client:
    """The program that logs in. `network`: `domain.networks.network_of` its address; None if unknown. `user_agent`:
    what it says about itself, on one line of up to `MAX_USER_AGENT` characters; None if it says nothing."""

    network: str | None = None
    user_agent: str | None = None


def client_with(network: str | None, user_agent: str | None) -> Client:
    """`user_agent` as it was received."""
    return Client(network, clean_line(user_agent or "", at_most=MAX_USER_AGENT) or None)


@dataclass(frozen=True, slots=True)
class Session:
    """`last_used_at`: when tokens were last issued, by the login or by a refresh. `client`: the one that did it."""

    id: LoginId
    created_at: datetime
    last_used_at: datetime
    client: Client
