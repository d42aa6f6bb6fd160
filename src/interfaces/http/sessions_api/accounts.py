"""Contract C: registering and logging in."""

from uuid import UUID

from litestar import post
from litestar.params import JSONBody
from msgspec import Struct

from application.accounts.login import LoggedIn, LogIn
from application.accounts.registration import RegisterAndLogIn, Registration
from domain.accounts import InvalidCredentials, Role
from domain.second_factors import LoginKind
from interfaces.emails import email_address, plausible_email_address
from interfaces.http.authentication import ClientAddress, creates_and_issues_tokens, issues_tokens
from interfaces.http.injection import Inject
from interfaces.http.schemas import EnteredRole, self_assigned_role

TAGS = ["Contract C: accounts"]
LOGIN = LoginKind.SESSIONS_API


class NewUser(Struct):
    email: str
    password: str
    name: str
    role: EnteredRole = "user"
    bio: str | None = None
    specialization: str | None = None


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


class Entrance(Struct):
    access_token: str
    user: UserBody


@post("/api/auth/register", operation_id="registerOfC", tags=TAGS, opt=creates_and_issues_tokens)
async def register_user(
    data: JSONBody[NewUser], address: Inject[ClientAddress], register_and_log_in: Inject[RegisterAndLogIn]
) -> Entrance:
    registration = Registration(
        email=email_address(data.email),
        password=data.password,
        name=data.name,
        role=self_assigned_role(data.role),
        bio=data.bio,
        specialization=data.specialization,
    )
    return entrance(await register_and_log_in(registration, address=address, login=LOGIN))


@post("/api/auth/login", operation_id="logInOfC", tags=TAGS, status_code=200, opt=issues_tokens)
async def log_in_user(data: JSONBody[Credentials], address: Inject[ClientAddress], log_in: Inject[LogIn]) -> Entrance:
    email = plausible_email_address(data.email)
    if email is None:
        raise InvalidCredentials
    return entrance(await log_in(email=email, password=data.password, address=address, login=LOGIN))


ROUTES = [register_user, log_in_user]


def entrance(logged_in: LoggedIn) -> Entrance:
    user = logged_in.user
    return Entrance(
        logged_in.access_token,
        UserBody(
            id=user.id,
            uuid=user.uuid,
            email=user.email,
            name=user.name,
            role=user.role,
            requested_role=user.requested_role,
        ),
    )
