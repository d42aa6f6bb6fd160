"""Where a request comes from."""

from typing import Any

from litestar.connection import ASGIConnection

from domain.networks import client_of


def client_address(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The network address of the client. `X-Forwarded-For` counts only behind trusted proxies."""
    peer = connection.client.host if connection.client else "local"
    return client_of(peer, connection.headers.getall("x-forwarded-for", []), connection.app.state.trusted_proxies)
