"""Erasure of an account: when it is carried out, and what replaces and identifies the person."""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.accounts import UserId
from domain.errors import Conflict

ERASED_NAME = "Deleted user"
_ERASED_DOMAIN = "@deleted.invalid"

LONGEST_WAIT = timedelta(hours=24)
"""How long messages about the person and calendars that fail delay the erasure."""

_SHORTEST_NAME = 3
"""Characters of a name that is looked for in texts. Shorter ones are common words."""


class ErasureInProgress(Conflict):
    code = "erasure_in_progress"
    message = "This account is being erased, or was erased"


@dataclass(frozen=True, slots=True)
class Erasure:
    """A requested erasure. The worker begins at `due_at`; until then an operator can withdraw it. `begun_at`: the first
    attempt."""

    user_id: UserId
    requested_at: datetime
    due_at: datetime
    begun_at: datetime | None = None
    erased_at: datetime | None = None

    def require_withdrawable(self, now: datetime) -> None:
        """Raises `ErasureInProgress`."""
        if now >= self.due_at:
            raise ErasureInProgress

    def may_wait(self, now: datetime) -> bool:
        """Whether messages and calendars still delay it."""
        return self.begun_at is not None and now < self.begun_at + LONGEST_WAIT


def erased_email(uuid: UUID) -> str:
    """The address of an erased account: unique, and of a domain that never receives mail (RFC 2606)."""
    return f"deleted-{uuid}{_ERASED_DOMAIN}"


def is_erased_email(address: str) -> bool:
    return address.endswith(_ERASED_DOMAIN)


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What identifies a person in texts: names and phone numbers, and e-mail addresses, also former ones.

    The patterns are regular expressions of Python and of PostgreSQL, for texts and for JSON, without regard to case. A
    name is found as whole words and not as the key of a JSON object.
    """

    names: Collection[str]
    addresses: Collection[str]

    def name_pattern(self) -> str:
        long = [name for name in self.names if len(name) >= _SHORTEST_NAME]
        short = [name for name in self.names if 0 < len(name) < _SHORTEST_NAME]
        begin = r"(?:(?<=\\[nrt])|(?<!\w))"
        found = [rf"{begin}{_any_of(long)}(?!\w)(?!\": )"] if long else []
        found += [rf"(?<=\"name\": \"){_any_of(short)}(?=\")"] if short else []
        return "|".join(found) or _NOTHING

    def address_pattern(self) -> str:
        if not self.addresses:
            return _NOTHING
        return rf"(?<![\w.+-]){_any_of(self.addresses)}(?![\w-])"

    def occur_in(self, text: str) -> bool:
        patterns = (self.name_pattern(), self.address_pattern())
        return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


_NOTHING = r"(?!\A)\A"


def _any_of(texts: Iterable[str]) -> str:
    # PostgreSQL compares letters beyond ASCII with regard to case where its locale is C.
    forms = {form for text in texts for form in (text, text.lower(), text.upper(), text.title())}
    forms |= {json.dumps(form, ensure_ascii=False)[1:-1] for form in forms}
    return f"(?:{'|'.join(re.escape(form) for form in sorted(forms, key=len, reverse=True))})"
