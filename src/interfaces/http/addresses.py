"""Where a request comes from."""

import ipaddress
from collections.abc import Sequence
from typing import Any

from litestar.connection import ASGIConnection


def client_address(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The network address of the client. `X-Forwarded-For` counts only as far as trusted proxies wrote it: read from
    the right, the first address that is not one of ours. Without trusted proxies the header is ignored."""
    trusted: Sequence[str] = connection.app.state.trusted_proxies
    address = connection.client.host if connection.client else "local"
    if not trusted:
        return address
    networks = [ipaddress.ip_network(network, strict=False) for network in trusted]
    hops = [address, *reversed([hop.strip() for hop in connection.headers.get("x-forwarded-for", "").split(",")])]
    for hop in hops:
        try:
            parsed = ipaddress.ip_address(hop)
        except ValueError:
            break
        address = hop
        if not any(parsed in network for network in networks):
            break
    return address
