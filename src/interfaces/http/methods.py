"""The methods of a path in the Allow header of an OPTIONS and of a 405 (RFC 9110, 9.3.7 and 15.5.6).

Litestar lists only the methods of the handler that was registered first, and none in a 405.
"""

from litestar import Litestar
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException
from litestar.types import Scope
from litestar.utils import normalize_path


def allow_header(scope: Scope) -> tuple[bytes, bytes]:
    """The Allow header of the scope's path, once the application has the scope."""
    return b"allow", ", ".join(allowed_methods(scope["litestar_app"], scope["path"])).encode()


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
