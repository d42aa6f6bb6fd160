"""Passkeys (WebAuthn Level 3): challenges, new passkeys, answers of passkeys."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from application.accounts.access import require_access
from application.accounts.account_tokens import TRIES_PER_NETWORK, issue_token
from application.accounts.factor_verification import use_challenge
from application.accounts.ports.second_factors import PasskeyResponse, PasskeyVerifier, StoredPasskey
from application.accounts.reauthentication import Proof, Reauthenticate
from application.accounts.second_factors import Enrolled, enrol, require_room
from application.accounts.sessions import Actor
from application.oauth import fingerprint
from application.outbox.ports import WakeUps
from application.ports import Clock, RateLimiter
from application.unit_of_work import OpenUnitOfWork, UnitOfWork
from application.use_cases import use_case
from domain.account_tokens import TOKEN_LIFETIME, TokenKind
from domain.accounts import User
from domain.errors import Errors, TooManyRequests
from domain.networks import network_of
from domain.second_factors import (
    MAX_FACTOR_NAME,
    NoSecondFactor,
    PasskeyNotValid,
    PasskeyTaken,
    TicketNotValid,
    TooManyFactors,
)
from domain.text import line

Options = Mapping[str, Any]
"""Those of WebAuthn as JSON, for `parseCreationOptionsFromJSON` and `parseRequestOptionsFromJSON` of a browser."""

RP_NAME = "Convene"
ALGORITHMS = (-7, -8, -257)
"""ES256, EdDSA and RS256: IANA's numbers of COSE."""


@use_case
class StartPasskey:
    """The options with which a browser creates a passkey. Their challenge is valid for five minutes and used once. The
    person proves that the account is theirs."""

    raises: ClassVar[Errors] = (*Reauthenticate.raises, TooManyFactors)

    open_work: OpenUnitOfWork
    reauthenticate: Reauthenticate
    verifier: PasskeyVerifier
    clock: Clock

    async def __call__(self, actor: Actor, proof: Proof, *, address: str) -> Options:
        await self.reauthenticate(actor, proof, address=address)
        user = actor.user
        async with self.open_work() as work:
            await require_access(work, user)
            await require_room(work, user)
            present = await work.second_factors.find_passkeys(user.id)
            challenge = await issue_token(work, TokenKind.ADD_PASSKEY, user, email=user.email, now=self.clock.now())
            await work.commit()
        return {
            "rp": {"id": self.verifier.rp_id, "name": RP_NAME},
            "user": {"id": _base64url(user.uuid.bytes), "name": user.email, "displayName": user.name},
            "challenge": challenge,
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
            "timeout": _milliseconds(TokenKind.ADD_PASSKEY),
            "excludeCredentials": _descriptors(present),
            "authenticatorSelection": {"residentKey": "preferred", "userVerification": "preferred"},
            "attestation": "none",
        }


@use_case
class AddPasskey:
    """Adds the passkey that a browser has created. With the first factor the account gets recovery codes. The owner
    gets a mail."""

    raises: ClassVar[Errors] = (PasskeyNotValid, TooManyFactors, PasskeyTaken)

    open_work: OpenUnitOfWork
    verifier: PasskeyVerifier
    wake_ups: WakeUps
    clock: Clock

    async def __call__(self, actor: Actor, response: PasskeyResponse, *, name: str) -> Enrolled:
        name = line("name", name, at_most=MAX_FACTOR_NAME)
        user, now = actor.user, self.clock.now()
        challenge = self.verifier.challenge(response)
        async with self.open_work() as work:
            await require_access(work, user)
            if not await use_challenge(work, user, TokenKind.ADD_PASSKEY, challenge, now):
                raise PasskeyNotValid
            await require_room(work, user)
            passkey = self.verifier.verify_new(response, challenge)
            factor = await work.second_factors.add_passkey(user.id, name, passkey, now)
            enrolled = await enrol(work, user, factor, now)
            await work.commit()
        self.wake_ups.notify()
        return enrolled


@use_case
class ChallengePasskeys:
    """The options with which a browser asks for a passkey of the calling account, to prove that the account is
    theirs."""

    raises: ClassVar[Errors] = (NoSecondFactor,)

    open_work: OpenUnitOfWork
    verifier: PasskeyVerifier
    clock: Clock

    async def __call__(self, actor: Actor) -> Options:
        async with self.open_work() as work:
            await require_access(work, actor.user)
            options = await request_options(work, actor.user, self.verifier, self.clock.now())
            await work.commit()
        return options


@use_case
class ChallengePasskeysOfLogin:
    """The options with which a browser asks for a passkey of the account that is logging in."""

    raises: ClassVar[Errors] = (TooManyRequests, TicketNotValid, NoSecondFactor)

    open_work: OpenUnitOfWork
    verifier: PasskeyVerifier
    limiter: RateLimiter
    clock: Clock

    async def __call__(self, secret: str, *, address: str) -> Options:
        network, now = network_of(address), self.clock.now()
        await self.limiter.take(TRIES_PER_NETWORK, network)
        async with self.open_work() as work:
            ticket = await work.login_tickets.find(fingerprint(secret), now)
            if ticket is None:
                raise TicketNotValid
            user = await work.users.get_locked(ticket.user_id)
            if not user.is_active or user.token_version != ticket.token_version:
                raise TicketNotValid
            options = await request_options(work, user, self.verifier, now)
            await work.commit()
        return options


async def request_options(work: UnitOfWork, user: User, verifier: PasskeyVerifier, now: datetime) -> Options:
    """The account is locked. Raises `NoSecondFactor` without a passkey."""
    present = await work.second_factors.find_passkeys(user.id)
    if not present:
        raise NoSecondFactor("The account has no passkey")
    return {
        "challenge": await issue_token(work, TokenKind.USE_PASSKEY, user, email=user.email, now=now),
        "rpId": verifier.rp_id,
        "allowCredentials": _descriptors(present),
        "userVerification": "preferred",
        "timeout": _milliseconds(TokenKind.USE_PASSKEY),
    }


def _descriptors(passkeys: Sequence[StoredPasskey]) -> list[dict[str, str]]:
    return [{"type": "public-key", "id": _base64url(stored.passkey.credential_id)} for stored in passkeys]


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _milliseconds(kind: TokenKind) -> int:
    return int(TOKEN_LIFETIME[kind].total_seconds() * 1000)
