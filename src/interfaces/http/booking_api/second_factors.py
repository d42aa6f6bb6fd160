"""Second factors: completing a login, and the factors of the calling account."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType, convert

from application.accounts.login import LoggedIn
from application.accounts.passkeys import AddPasskey, ChallengePasskeys, ChallengePasskeysOfLogin, StartPasskey
from application.accounts.reauthentication import Proof
from application.accounts.second_factor_login import CompleteLogin
from application.accounts.second_factors import (
    ConfirmTotpEnrolment,
    Enrolled,
    ListFactors,
    RemoveFactor,
    RenameFactor,
    ReplaceRecoveryCodes,
    StartTotpEnrolment,
)
from application.accounts.sessions import Actor
from domain.accounts import Role
from domain.errors import Invalid
from domain.second_factors import EnrolmentNotFound, Factor, FactorId, FactorKind, FactorNotFound, LoginKind
from interfaces.http import events_api, sessions_api
from interfaces.http.authentication import ISSUES_TOKENS, ClientAddress, enrolling, issues_tokens
from interfaces.http.booking_api.accounts import tokens_body
from interfaces.http.booking_api.google import google_tokens
from interfaces.http.injection import Inject
from interfaces.http.parameters import uuid_in_path
from interfaces.http.schemas import Done, whole_seconds

TAGS = ["Second factors"]

shows_secrets = {ISSUES_TOKENS: True}
"""Marks routes whose answer is not stored for an idempotency key."""

FactorIdInPath = Annotated[FactorId, uuid_in_path("The factor's id.", FactorNotFound)]
EnrolmentIdInPath = Annotated[FactorId, uuid_in_path("The id of the started enrolment.", EnrolmentNotFound)]


PasskeyJson = dict[str, Any]
"""A `PublicKeyCredential` or its options, as WebAuthn writes them in JSON."""


class SecondStep(Struct):
    """One of `code` (of the authenticator app, or a recovery code) and `passkey` (what `navigator.credentials.get()`
    returned, as JSON)."""

    ticket: str
    code: str | None = None
    passkey: PasskeyJson | None = None


class Ticket(Struct):
    ticket: str


class ProofBody(Struct):
    """Proof that the account is the caller's: its password, a code or a passkey. An account without a password needs
    none of them if its session began in the last five minutes."""

    password: str | None = None
    code: str | None = None
    passkey: PasskeyJson | None = None


class NewTotpFactor(ProofBody):
    """As for all changes of factors, with a proof."""

    name: str = "Authenticator app"


class FactorChange(ProofBody, kw_only=True):
    """As for all changes of factors, with a proof."""

    name: str


class NewPasskey(Struct):
    """`credential`: what `navigator.credentials.create()` returned, as JSON."""

    credential: PasskeyJson
    name: str = "Passkey"


class PasskeyOptions(Struct):
    """`options`: for `navigator.credentials`, as JSON."""

    options: PasskeyJson


class ConfirmationCode(Struct):
    code: str


class FactorBody(Struct):
    id: UUID
    type: FactorKind
    name: str
    created_at: datetime
    last_used_at: datetime | None


class FactorList(Struct):
    """`recovery_codes_left`: those that are not used."""

    factors: list[FactorBody]
    recovery_codes_left: int


class StartedTotp(Struct):
    """`secret` in base 32; `otpauth_uri` is usually shown as a QR code."""

    id: UUID
    secret: str
    otpauth_uri: str
    expires_at: datetime


class FactorAdded(Struct):
    """`recovery_codes`: with the first factor, and never again; else `null`."""

    factor: FactorBody
    recovery_codes: list[str] | None


class FactorRenamed(Struct):
    factor: FactorBody


class RecoveryCodesBody(Struct):
    recovery_codes: list[str]


class UserOfLogin(Struct):
    """With the fields that the answer of the login has."""

    id: int
    uuid: UUID
    email: str
    name: str
    role: Role
    requested_role: Role | None | UnsetType = UNSET
    google_id: str | None | UnsetType = UNSET
    profile_picture: str | None | UnsetType = UNSET


class LoginCompleted(Struct):
    """The answer of the login: contracts A and C have no `refresh_token`."""

    access_token: str
    user: UserOfLogin
    refresh_token: str | UnsetType = UNSET


@post("/auth/second-factor", operation_id="completeLogin", tags=TAGS, status_code=200, opt=issues_tokens)
async def complete_login(
    data: JSONBody[SecondStep], address: Inject[ClientAddress], complete_login: Inject[CompleteLogin]
) -> LoginCompleted:
    """Completes a login that was answered with `second_factor_required`. The answer is that of the login.

    A ticket is valid for five minutes, five attempts and one login. Each code is accepted once."""
    given = data.code if data.passkey is None else data.passkey
    if given is None:
        raise Invalid({"code": "Must be given, or a passkey"})
    logged_in, login = await complete_login(data.ticket, given, address=address)
    return convert(_ANSWERS[login](logged_in), LoginCompleted, from_attributes=True)


@post(
    "/auth/second-factor/passkey-options",
    operation_id="challengePasskeysOfLogin",
    tags=TAGS,
    status_code=200,
    opt=issues_tokens,
)
async def challenge_for_login(
    data: JSONBody[Ticket],
    address: Inject[ClientAddress],
    challenge_passkeys_of_login: Inject[ChallengePasskeysOfLogin],
) -> PasskeyOptions:
    return PasskeyOptions(dict(await challenge_passkeys_of_login(data.ticket, address=address)))


@get("/auth/factors", operation_id="listFactors", tags=TAGS, guards=[enrolling.without_keys])
async def list_own_factors(actor: Inject[Actor], list_factors: Inject[ListFactors]) -> FactorList:
    found = await list_factors(actor)
    return FactorList([_factor(factor) for factor in found.factors], found.recovery_codes)


@post(
    "/auth/factors/totp",
    operation_id="startTotpEnrolment",
    tags=TAGS,
    guards=[enrolling.without_keys],
    opt=shows_secrets,
)
async def start_enrolment(
    data: JSONBody[NewTotpFactor],
    actor: Inject[Actor],
    address: Inject[ClientAddress],
    start_totp_enrolment: Inject[StartTotpEnrolment],
) -> StartedTotp:
    started = await start_totp_enrolment(actor, _proof(data), name=data.name, address=address)
    return StartedTotp(started.id, started.secret, started.uri, whole_seconds(started.expires_at))


@post(
    "/auth/factors/totp/{factor_id:str}/confirm",
    operation_id="confirmTotpEnrolment",
    tags=TAGS,
    status_code=200,
    guards=[enrolling.without_keys],
    opt=shows_secrets,
)
async def confirm_enrolment(
    factor_id: FromPath[EnrolmentIdInPath],
    data: JSONBody[ConfirmationCode],
    actor: Inject[Actor],
    confirm_totp_enrolment: Inject[ConfirmTotpEnrolment],
) -> FactorAdded:
    return _added(await confirm_totp_enrolment(actor, factor_id, data.code))


@post(
    "/auth/factors/passkeys/creation-options",
    operation_id="startPasskey",
    tags=TAGS,
    status_code=200,
    guards=[enrolling.without_keys],
    opt=shows_secrets,
)
async def start_new_passkey(
    data: JSONBody[ProofBody],
    actor: Inject[Actor],
    address: Inject[ClientAddress],
    start_passkey: Inject[StartPasskey],
) -> PasskeyOptions:
    return PasskeyOptions(dict(await start_passkey(actor, _proof(data), address=address)))


@post(
    "/auth/factors/passkeys", operation_id="addPasskey", tags=TAGS, guards=[enrolling.without_keys], opt=shows_secrets
)
async def add_new_passkey(
    data: JSONBody[NewPasskey], actor: Inject[Actor], add_passkey: Inject[AddPasskey]
) -> FactorAdded:
    return _added(await add_passkey(actor, data.credential, name=data.name))


@post(
    "/auth/factors/passkeys/request-options",
    operation_id="challengePasskeys",
    tags=TAGS,
    status_code=200,
    guards=[enrolling.without_keys],
    opt=shows_secrets,
)
async def challenge_for_change(actor: Inject[Actor], challenge_passkeys: Inject[ChallengePasskeys]) -> PasskeyOptions:
    return PasskeyOptions(dict(await challenge_passkeys(actor)))


@patch("/auth/factors/{factor_id:str}", operation_id="renameFactor", tags=TAGS, guards=[enrolling.without_keys])
async def rename_own_factor(
    factor_id: FromPath[FactorIdInPath],
    data: JSONBody[FactorChange],
    actor: Inject[Actor],
    address: Inject[ClientAddress],
    rename_factor: Inject[RenameFactor],
) -> FactorRenamed:
    return FactorRenamed(_factor(await rename_factor(actor, _proof(data), factor_id, name=data.name, address=address)))


@post(
    "/auth/factors/{factor_id:str}/remove",
    operation_id="removeFactor",
    tags=TAGS,
    status_code=200,
    guards=[enrolling.without_keys],
)
async def remove_own_factor(
    factor_id: FromPath[FactorIdInPath],
    data: JSONBody[ProofBody],
    actor: Inject[Actor],
    address: Inject[ClientAddress],
    remove_factor: Inject[RemoveFactor],
) -> Done:
    await remove_factor(actor, _proof(data), factor_id, address=address)
    return Done("Second factor removed successfully")


@post(
    "/auth/recovery-codes",
    operation_id="replaceRecoveryCodes",
    tags=TAGS,
    status_code=200,
    guards=[enrolling.without_keys],
    opt=shows_secrets,
)
async def replace_own_recovery_codes(
    data: JSONBody[ProofBody],
    actor: Inject[Actor],
    address: Inject[ClientAddress],
    replace_recovery_codes: Inject[ReplaceRecoveryCodes],
) -> RecoveryCodesBody:
    return RecoveryCodesBody(list(await replace_recovery_codes(actor, _proof(data), address=address)))


_ANSWERS: Mapping[LoginKind, Callable[[LoggedIn], Struct]] = {
    LoginKind.BOOKING_API: tokens_body,
    LoginKind.GOOGLE: google_tokens,
    LoginKind.EVENTS_API: events_api.accounts.entrance,
    LoginKind.SESSIONS_API: sessions_api.accounts.entrance,
}


ROUTES = [
    complete_login,
    challenge_for_login,
    list_own_factors,
    start_enrolment,
    confirm_enrolment,
    start_new_passkey,
    add_new_passkey,
    challenge_for_change,
    rename_own_factor,
    remove_own_factor,
    replace_own_recovery_codes,
]


def _proof(body: ProofBody) -> Proof:
    return Proof(body.password, body.code if body.passkey is None else body.passkey)


def _added(enrolled: Enrolled) -> FactorAdded:
    codes = enrolled.recovery_codes
    return FactorAdded(_factor(enrolled.factor), None if codes is None else list(codes))


def _factor(factor: Factor) -> FactorBody:
    return FactorBody(
        id=factor.id,
        type=factor.kind,
        name=factor.name,
        created_at=whole_seconds(factor.created_at),
        last_used_at=None if factor.last_used_at is None else whole_seconds(factor.last_used_at),
    )
