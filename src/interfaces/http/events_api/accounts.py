"""Contract A: registering and logging in."""

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

TAGS = ["Contract A: accounts"]
LOGIN = LoginKind.EVENTS_API


class NewUser(Struct):
    name: str
    email: str
    password: str
    role: EnteredRole = "user"


class Credentials(Struct):
    email: str
    password: str


class UserBody(Struct):
    """`requested_role`: the role that awaits the operator's approval; `null` without one."""

    id: int
    uuid: UUID
    name: str
    email: str
    role: Role
    requested_role: Role | None


class Entrance(Struct):
    access_token: str
    user: UserBody


@post("/api/register", operation_id="registerOfA", tags=TAGS, status_code=200, opt=creates_and_issues_tokens)
async def register_user(
    data: JSONBody[NewUser], address: Inject[ClientAddress], register_and_log_in: Inject[RegisterAndLogIn]
) -> Entrance:
    registration = Registration(
        email=email_address(data.email), password=data.password, name=data.name, role=self_assigned_role(data.role)
    )
    return entrance(await register_and_log_in(registration, address=address, login=LOGIN))


@post("/api/login", operation_id="logInOfA", tags=TAGS, status_code=200, opt=issues_tokens)
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
            name=user.name,
            email=user.email,
            role=user.role,
            requested_role=user.requested_role,
        ),
    )
