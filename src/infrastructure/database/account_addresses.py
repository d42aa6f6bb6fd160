"""Accounts whose addresses are older than the rules for new ones."""

from collections import defaultdict
from dataclasses import dataclass

from infrastructure.database.engine import Database
from servicekit.mailboxes import is_mailable, look_alike

# An address within ASCII looks like another one only where that one has letters beyond ASCII.
_BEYOND_ASCII = "SELECT id, email FROM users WHERE email ~ '[^\\x01-\\x7f].*@' ORDER BY id"
_WITH_ADDRESS = "SELECT id, email FROM users WHERE email = ANY($1) ORDER BY id"


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    email: str

    def __str__(self) -> str:
        return f"{self.email} (id {self.id})"


@dataclass(frozen=True, slots=True)
class OldAddresses:
    """`unmailable` accounts get no mail. Those of one group of `look_alikes` would be one account under today's rules;
    each stays an account of its own."""

    unmailable: list[Account]
    look_alikes: list[list[Account]]


async def old_addresses(database: Database, *, smtputf8: bool) -> OldAddresses:
    """Raises `Unavailable`."""
    async with database.connection() as connection:
        beyond_ascii = [Account(*row) for row in await connection.fetch(_BEYOND_ASCII)]
        forms = sorted({look_alike(account.email) for account in beyond_ascii})
        others = [Account(*row) for row in await connection.fetch(_WITH_ADDRESS, forms)]
    groups = defaultdict[str, dict[int, Account]](dict)
    for account in (*beyond_ascii, *others):
        groups[look_alike(account.email)][account.id] = account
    return OldAddresses(
        unmailable=[account for account in beyond_ascii if not is_mailable(account.email, smtputf8=smtputf8)],
        look_alikes=[list(group.values()) for group in groups.values() if len(group) > 1],
    )
