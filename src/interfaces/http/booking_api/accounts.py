"""Contract B 1, 2, 5, 20, 21: accounts. Beside them: log-out and changing the password."""

from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import Request, get, post, put
from litestar.params import JSONBody
from msgspec import Struct

from application.accounts.login import LoggedIn, LogIn
from application.accounts.profile import ChangePassword, UpdateProfile
from application.accounts.recovery import RequestPasswordReset, ResetPassword
from application.accounts.registration import Register, Registration
from application.accounts.sessions import Actor, LogOut, Refresh
from application.accounts.verification import ResendVerification, VerifyEmail
from domain.accounts import InvalidCredentials, Role, User
from domain.api_keys import Scope
from domain.errors import Invalid
from interfaces.emails import account_address, email_address, plausible_email_address
from interfaces.http.authentication import (
    ClientAddress,
    bearer_token,
    enrolling,
    issues_tokens,
    public,
    signed_in,
)
from interfaces.http.injection import Inject
from interfaces.http.schemas import Done, EnteredRole, self_assigned_role, whole_seconds

TAGS = ["Contract B: accounts"]


class RegistrationBody(Struct):
    email: str
    password: str
    name: str
    role: EnteredRole = "user"


class Credentials(Struct):
    email: str
    password: str


class UserBody(Struct):
    """`requested_role`: the role that awaits the operator's approval; `null` without one."""

    id: int
    uuid: UUID
    email: str
    name: str
    role: Role
    requested_role: Role | None


class Registered(Struct):
    message: str
    user: UserBody


class TokensBody(Struct):
    access_token: str
    refresh_token: str
    user: UserBody


class Profile(Struct):
    id: int
    uuid: UUID
    email: str
    name: str
    phone: str | None
    role: Role
    is_active: bool
    is_verified: bool
    created_at: datetime
    timezone: str | None
    requested_role: Role | None


class ProfileChange(Struct):
    """`email` is changed by `POST /profile/email`: here only the present address of the account is accepted."""

    email: str | None = None
    name: str | None = None
    phone: str | None = None
    timezone: str | None = None


class UserWithPhone(Struct):
    id: int
    uuid: UUID
    email: str
    name: str
    phone: str | None
    role: Role
    timezone: str | None


class ProfileChanged(Struct):
    message: str
    user: UserWithPhone


class LogOutRequest(Struct):
    everywhere: bool = False


class PasswordChange(Struct):
    current_password: str
    new_password: str


class ForgottenPassword(Struct):
    email: str


class NewPassword(Struct):
    token: str
    password: str


class MailedToken(Struct):
    token: str


@post("/auth/register", operation_id="register", tags=TAGS, opt=public)
async def register_user(
    data: JSONBody[RegistrationBody], address: Inject[ClientAddress], register: Inject[Register]
) -> Registered:
    registration = Registration(
        email=email_address(data.email), password=data.password, name=data.name, role=self_assigned_role(data.role)
    )
    user = await register(registration, address=address)
    return Registered("User registered successfully", _user(user))


@post("/auth/login", operation_id="logIn", tags=TAGS, status_code=200, opt=issues_tokens)
async def log_in_user(data: JSONBody[Credentials], address: Inject[ClientAddress], log_in: Inject[LogIn]) -> TokensBody:
    email = plausible_email_address(data.email)
    if email is None:
        raise InvalidCredentials
    return tokens_body(await log_in(email=email, password=data.password, address=address))


@post("/auth/refresh", operation_id="refreshToken", tags=TAGS, status_code=200, opt=issues_tokens)
async def refresh_token(request: Request[Any, Any, Any], refresh: Inject[Refresh]) -> TokensBody:
    return tokens_body(await refresh(bearer_token(request)))


@post("/auth/logout", operation_id="logOut", tags=TAGS, status_code=200, guards=[enrolling.without_keys])
async def log_out_user(
    actor: Inject[Actor], log_out: Inject[LogOut], data: JSONBody[LogOutRequest | None] = None
) -> Done:
    await log_out(actor, everywhere=data.everywhere if data else False)
    return Done("Logged out successfully")


@post("/auth/password", operation_id="changePassword", tags=TAGS, status_code=200, guards=[signed_in.without_keys])
async def change_own_password(
    data: JSONBody[PasswordChange],
    address: Inject[ClientAddress],
    actor: Inject[Actor],
    change_password: Inject[ChangePassword],
) -> Done:
    await change_password(actor, current=data.current_password, new=data.new_password, address=address)
    return Done("Password changed successfully. Please log in again")


@post("/auth/password/forgot", operation_id="requestPasswordReset", tags=TAGS, status_code=202, opt=public)
async def request_reset_of_password(
    data: JSONBody[ForgottenPassword],
    address: Inject[ClientAddress],
    request_password_reset: Inject[RequestPasswordReset],
) -> Done:
    await request_password_reset(email=account_address(data.email), address=address)
    return Done("If there is an account with this address, a mail with a link is on its way")


@post("/auth/password/reset", operation_id="resetPassword", tags=TAGS, status_code=200, opt=public)
async def reset_forgotten_password(
    data: JSONBody[NewPassword], address: Inject[ClientAddress], reset_password: Inject[ResetPassword]
) -> Done:
    await reset_password(data.token, password=data.password, address=address)
    return Done("Password changed successfully. Please log in")


@post("/auth/verify-email", operation_id="verifyEmail", tags=TAGS, status_code=200, opt=public)
async def verify_email_address(
    data: JSONBody[MailedToken], address: Inject[ClientAddress], verify_email: Inject[VerifyEmail]
) -> Done:
    await verify_email(data.token, address=address)
    return Done("E-mail address verified successfully")


@post(
    "/auth/verify-email/resend",
    operation_id="resendVerification",
    tags=TAGS,
    status_code=202,
    guards=[signed_in.without_keys],
)
async def resend_verification_mail(actor: Inject[Actor], resend_verification: Inject[ResendVerification]) -> Done:
    await resend_verification(actor)
    return Done("A mail with a link is on its way")


@get("/profile", operation_id="getProfile", tags=TAGS, guards=[signed_in.with_scope(Scope.PROFILE_READ)])
async def show_profile(actor: Inject[Actor]) -> Profile:
    """The profile of the calling account."""
    user = actor.user
    return Profile(
        id=user.id,
        uuid=user.uuid,
        email=user.email,
        name=user.name,
        phone=user.phone,
        role=user.role,
        is_active=user.is_active,
        is_verified=user.is_verified,
        created_at=whole_seconds(user.created_at),
        timezone=user.timezone,
        requested_role=user.requested_role,
    )


@put("/profile", operation_id="updateProfile", tags=TAGS, guards=[signed_in.with_scope(Scope.PROFILE_WRITE)])
async def change_profile(
    data: JSONBody[ProfileChange], actor: Inject[Actor], update_profile: Inject[UpdateProfile]
) -> ProfileChanged:
    if data.email not in {None, actor.user.email} and plausible_email_address(data.email or "") != actor.user.email:
        raise Invalid({"email": "Cannot be changed: leave it out, or send the address of the account"})
    user = await update_profile(actor, name=data.name, phone=data.phone, timezone=data.timezone)
    changed = UserWithPhone(
        id=user.id,
        uuid=user.uuid,
        email=user.email,
        name=user.name,
        phone=user.phone,
        role=user.role,
        timezone=user.timezone,
    )
    return ProfileChanged("Profile updated successfully", changed)


ROUTES = [
    register_user,
    log_in_user,
    refresh_token,
    log_out_user,
    change_own_password,
    request_reset_of_password,
    reset_forgotten_password,
    verify_email_address,
    resend_verification_mail,
    show_profile,
    change_profile,
]


def _user(user: User) -> UserBody:
    return UserBody(
        id=user.id,
        uuid=user.uuid,
        email=user.email,
        name=user.name,
        role=user.role,
        requested_role=user.requested_role,
    )


def tokens_body(logged_in: LoggedIn) -> TokensBody:
    return TokensBody(logged_in.access_token, logged_in.refresh_token, _user(logged_in.user))
