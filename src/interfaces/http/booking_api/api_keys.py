"""API keys of the calling account."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from application.accounts.api_keys import CreateApiKey, RevokeApiKey
from application.accounts.ports.accounts import ApiKeyQueries
from application.accounts.sessions import Actor
from application.ports import DEFAULT_PAGE, PageRequest
from domain.api_keys import ApiKey, ApiKeyId, ApiKeyNotFound, ApiKeyRequest, Scope
from interfaces.http.authentication import ISSUES_TOKENS, signed_in
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, PageSize, uuid_in_path
from interfaces.http.schemas import object_page, whole_seconds

TAGS = ["API keys"]

ApiKeyIdInPath = Annotated[ApiKeyId, uuid_in_path("The key's id.", ApiKeyNotFound)]


class NewApiKeyBody(Struct):
    """`expires_at`: without it the key is valid until it is revoked; a time without an offset is UTC."""

    name: str
    scopes: list[Scope]
    expires_at: datetime | None = None


class ApiKeyBody(Struct, kw_only=True):
    """`prefix`: the beginning of the key, for recognition. `last_used_at`: the minute of the last use, stored a moment
    later; `null` for a key that was not used."""

    id: UUID
    name: str
    scopes: list[str]
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class CreatedApiKey(ApiKeyBody, kw_only=True):
    """`key` is shown once: it is stored as a hash."""

    key: str


class ApiKeyList(Struct):
    api_keys: list[ApiKeyBody]
    next_cursor: str | None


@post("/api-keys", operation_id="createApiKey", tags=TAGS, guards=[signed_in.without_keys], opt={ISSUES_TOKENS: True})
async def create_own_api_key(
    data: JSONBody[NewApiKeyBody], actor: Inject[Actor], create_api_key: Inject[CreateApiKey]
) -> CreatedApiKey:
    key, secret = await create_api_key(actor, ApiKeyRequest(data.name, data.scopes, data.expires_at))
    return CreatedApiKey(**_fields(key), key=secret)


@get("/api-keys", operation_id="listApiKeys", tags=TAGS, guards=[signed_in.without_keys])
async def list_own_api_keys(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    api_key_queries: Inject[ApiKeyQueries],
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[ApiKeyList]:
    """The keys of the calling account that were not revoked, newest first; expired ones too."""
    page = await api_key_queries.list_of(actor.user.id, PageRequest(limit, cursor))
    return object_page(request, ApiKeyList([ApiKeyBody(**_fields(key)) for key in page.items], page.next))


@delete("/api-keys/{key_id:str}", operation_id="revokeApiKey", tags=TAGS, guards=[signed_in.without_keys])
async def revoke_own_api_key(
    key_id: FromPath[ApiKeyIdInPath], actor: Inject[Actor], revoke_api_key: Inject[RevokeApiKey]
) -> None:
    await revoke_api_key(actor, key_id)


ROUTES = [create_own_api_key, list_own_api_keys, revoke_own_api_key]


def _fields(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "prefix": key.prefix,
        "created_at": whole_seconds(key.created_at),
        "expires_at": whole_seconds(key.expires_at) if key.expires_at else None,
        "last_used_at": key.last_used_at,
    }
