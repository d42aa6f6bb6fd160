"""The methods of a path in the Allow header of an OPTIONS and of a 405 (RFC 9110, 9.3.7 and 15.5.6).

Litestar lists only the methods of the handler that was registered first, and none in a 405.
"""

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import HTTPException
from litestar.types import Message, Scope
from litestar.utils import normalize_path


async def add_allow_header(message: Message, scope: Scope) -> None:
    """Litestar's `before_send` hook: adds the Allow header."""
    if message["type"] != "http.response.start" or scope["type"] != ScopeType.HTTP:
        return
    if message["status"] == 405 or (scope["method"] == "OPTIONS" and message["status"] == 204):
        MutableScopeHeaders.from_message(message)["Allow"] = ", ".join(allowed_methods(scope["app"], scope["path"]))


def allowed_methods(app: Litestar, path: str) -> list[str]:
    allowed = [method for method in HttpMethod if _is_routed(app, normalize_path(path), method)]
    if HttpMethod.GET in allowed:
        allowed.append(HttpMethod.HEAD)
    return sorted(allowed)


def _is_routed(app: Litestar, path: str, method: HttpMethod) -> bool:
    try:
        app.asgi_router.handle_routing(path=path, method=method)
    except HTTPException:
        return False
    return True
