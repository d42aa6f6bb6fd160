"""Requests that carry a key, and what is remembered of them.

IdempotencyKeyInvalid   no such key can be kept
IdempotencyKeyReused    the key belongs to another request
IdempotencyKeyInUse     the first request with the key still runs; or another took over from this one
IdempotencyAnswerLost   the first request was carried out and its process died before the answer was kept
"""

import json
from collections.abc import Mapping, Sequence
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from domain.errors import Conflict, Invalid
from domain.users import UserId


class IdempotencyKeyInvalid(Invalid):
    code = "idempotency_key_invalid"
    message = "Invalid Idempotency-Key"

    def __init__(self) -> None:
        super().__init__({"Idempotency-Key": "Must be 1 to 255 printable ASCII characters, given once"})


class IdempotencyKeyReused(Conflict):
    code = "idempotency_key_reused"
    message = "This Idempotency-Key was used for another request"


class IdempotencyKeyInUse(Conflict):
    code = "idempotency_key_in_use"
    message = "A request with this Idempotency-Key is still running. Please try again shortly"
    retry_after = 2


class IdempotencyAnswerLost(Conflict):
    code = "idempotency_answer_lost"
    message = "The request with this Idempotency-Key was carried out, but its answer was lost. It is not repeated"


def owner_of(user_id: UserId) -> str:
    """The `owner` of a user's keys."""
    return f"user:{user_id}"


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """`owner` is whose key it is: the same key of two owners has nothing in common. `fingerprint` tells this request
    from every other."""

    owner: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry a request out. `made` is what somebody made who had it before and died after the commit, as
    JSON in the words of whoever wrote it."""

    owner: str
    key: str
    runner: UUID
    made: str | None


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class IdempotencyKeys(Protocol):
    async def claim(self, request: KeyedRequest, *, lease: timedelta, kept_for: timedelta) -> Claim | KeptAnswer | None:
        """None: somebody else has it, ask again. A claim ends with its lease; who takes it over shuts out the former
        runner, who can commit nothing more under it.

        Raises `IdempotencyKeyReused`, `IdempotencyAnswerLost`.
        """
        ...

    async def keep(self, claim: Claim, answer: KeptAnswer) -> None:
        """Changes nothing when the claim was lost meanwhile. A refusal is released instead when its owner has many
        keys: then the request may be made anew."""
        ...

    async def release(self, claim: Claim) -> None:
        """As if the request had never been made. Where it was carried out all the same, whoever asks again presents
        what was made; where it still may be, by a statement on its way, the lease decides."""
        ...

    async def forget(self, *, older_than: timedelta, limit: int) -> int: ...


CLAIM: ContextVar[Claim | None] = ContextVar("idempotency_claim", default=None)
"""The claim of the request that is being carried out. Whoever commits for it says so in the same transaction, and is
refused (`IdempotencyKeyInUse`) when the claim is lost: so what is done under one key is done once."""


Made = bool | int | str | Sequence[Any] | Mapping[str, Any]
"""What a use case names of its work, for itself, as JSON."""

SAYS_THE_SAME: Final = True
"""For `commit(made)` where whoever does it again finds it done and says the same: nobody has to look for it first."""


def made_before() -> Any:
    """What `commit(made)` named when this very request was carried out already, by a process that died before it could
    answer; None where there is nothing like that. Whoever finds something presents it and makes nothing."""
    claim = CLAIM.get()
    return None if claim is None or claim.made is None else json.loads(claim.made)


def beside_the_request() -> Context:
    """For a task that a request sets going and that is not what it asks for: it lives on without the request, and what
    it commits says nothing of it."""
    context = copy_context()
    context.run(CLAIM.set, None)
    return context
