"""Accounts, for admins."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from application.accounts.administration import GrantRole, SetAccountActive
from application.accounts.ports.accounts import AccountFilter, AccountQueries
from application.accounts.sessions import Actor
from application.ports import DEFAULT_PAGE, PageRequest
from domain.accounts import Role, User, UserId, UserNotFound
from domain.api_keys import Scope
from interfaces.http.authentication import admins
from interfaces.http.injection import Inject
from interfaces.http.parameters import (
    LONGEST_SEARCH,
    Converter,
    Cursor,
    PageSize,
    flag,
    id_in_path,
    member_of,
    search_text,
)
from interfaces.http.schemas import object_page, one_of

TAGS = ["Admins"]


class Account(Struct):
    id: int
    uuid: str
    email: str
    name: str
    role: Role
    requested_role: Role | None
    is_active: bool
    is_verified: bool
    created_at: datetime


class AccountList(Struct):
    users: list[Account]
    next_cursor: str | None


class NewRole(Struct):
    role: Annotated[str, one_of(Role)]


_ROLE = member_of(Role, "Only accounts with this role.", "Must be one of {}")
_FLAG = {"type": "boolean"}

AccountIdInPath = Annotated[UserId, id_in_path("The account's id.", UserNotFound)]
AccountSearch = Annotated[
    str | None,
    Converter(
        "Only accounts with all of these words, or words that begin so, in the name or the e-mail address.",
        {"type": "string", "maxLength": LONGEST_SEARCH},
        search_text,
    ),
]
RoleFilter = Annotated[Role | None, _ROLE]
ActiveFilter = Annotated[
    bool | None, Converter("`true`: only accounts that can log in; `false`: only deactivated ones.", _FLAG, flag)
]
VerifiedFilter = Annotated[
    bool | None, Converter("Only accounts whose e-mail address is verified, or is not.", _FLAG, flag)
]
RequestedFilter = Annotated[
    bool, Converter("`true`: only accounts that wait for approval as a facilitator.", _FLAG, flag)
]


@get("/admin/users", operation_id="listUsers", tags=TAGS, guards=[admins.with_scope(Scope.ADMIN_READ)])
async def list_users(
    request: Request[Any, Any, Any],
    account_queries: Inject[AccountQueries],
    q: FromQuery[AccountSearch] = None,
    role: FromQuery[RoleFilter] = None,
    active: FromQuery[ActiveFilter] = None,
    verified: FromQuery[VerifiedFilter] = None,
    requested: FromQuery[RequestedFilter] = False,
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[AccountList]:
    """Accounts, newest first."""
    wanted = AccountFilter(q, role, active, verified, requested)
    page = await account_queries.list(wanted, PageRequest(limit, cursor))
    return object_page(request, AccountList([_body(user) for user in page.items], page.next))


@post(
    "/admin/users/{user_id:str}/deactivate",
    operation_id="deactivateUser",
    tags=TAGS,
    status_code=200,
    guards=[admins.with_scope(Scope.ADMIN_WRITE)],
)
async def deactivate_user(
    user_id: FromPath[AccountIdInPath], actor: Inject[Actor], set_account_active: Inject[SetAccountActive]
) -> Account:
    return _body(await set_account_active(user_id, active=False, by=actor.user))


@post(
    "/admin/users/{user_id:str}/activate",
    operation_id="activateUser",
    tags=TAGS,
    status_code=200,
    guards=[admins.with_scope(Scope.ADMIN_WRITE)],
)
async def activate_user(
    user_id: FromPath[AccountIdInPath], actor: Inject[Actor], set_account_active: Inject[SetAccountActive]
) -> Account:
    return _body(await set_account_active(user_id, active=True, by=actor.user))


@post(
    "/admin/users/{user_id:str}/role",
    operation_id="changeUserRole",
    tags=TAGS,
    status_code=200,
    guards=[admins.with_scope(Scope.ADMIN_WRITE)],
)
async def change_user_role(
    user_id: FromPath[AccountIdInPath],
    data: JSONBody[NewRole],
    actor: Inject[Actor],
    grant_role: Inject[GrantRole],
) -> Account:
    return _body(await grant_role(user_id, role=_ROLE.convert("role", data.role), by=actor.user))


ROUTES = [list_users, deactivate_user, activate_user, change_user_role]


def _body(user: User) -> Account:
    return Account(
        id=user.id,
        uuid=str(user.uuid),
        email=user.email,
        name=user.name,
        role=user.role,
        requested_role=user.requested_role,
        is_active=user.is_active,
        is_verified=user.is_verified,
        created_at=user.created_at,
    )
