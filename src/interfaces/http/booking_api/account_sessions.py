"""Login sessions of the calling account: at each, one login with its tokens. (Contract C calls events sessions.)"""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, delete, get
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from application.accounts.sessions import Actor, EndSession, ListSessions
from application.ports import DEFAULT_PAGE, PageRequest
from domain.accounts import LoginId
from domain.sessions import SessionNotFound
from interfaces.http.authentication import signed_in
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, PageSize, uuid_in_path
from interfaces.http.schemas import object_page

TAGS = ["Accounts"]

LoginSessionInPath = Annotated[LoginId, uuid_in_path("The session's id.", SessionNotFound)]


class LoginSession(Struct):
    """`current`: whether it is that of the request."""

    id: str
    created_at: datetime
    last_used_at: datetime
    network: str | None
    user_agent: str | None
    current: bool


class LoginSessions(Struct):
    sessions: list[LoginSession]
    next_cursor: str | None


@get("/auth/sessions", operation_id="listLoginSessions", tags=TAGS, guards=[signed_in.without_keys])
async def list_own_sessions(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    list_sessions: Inject[ListSessions],
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[LoginSessions]:
    page = await list_sessions(actor, PageRequest(limit, cursor))
    sessions = [
        LoginSession(
            id=str(session.id),
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            network=session.client.network,
            user_agent=session.client.user_agent,
            current=session.id == actor.login_id,
        )
        for session in page.items
    ]
    return object_page(request, LoginSessions(sessions, page.next))


@delete(
    "/auth/sessions/{session_id:str}",
    operation_id="endLoginSession",
    tags=TAGS,
    status_code=204,
    guards=[signed_in.without_keys],
)
async def end_own_session(
    session_id: FromPath[LoginSessionInPath], actor: Inject[Actor], end_session: Inject[EndSession]
) -> None:
    await end_session(actor, session_id)


ROUTES = [list_own_sessions, end_own_session]
