"""Client addresses, and the networks for which attempts are counted."""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

IPV6_PREFIX = 64
"""Every subscriber has at least this prefix (RFC 6177), so one client can use every address of it."""


def network_of(address: str) -> str:
    """The IPv4 address or the IPv6 /64. A text that is not an address is returned unchanged ("local", for a Unix
    socket). An IPv4-mapped IPv6 address counts as the IPv4 address."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(parsed) >> IPV6_PREFIX << IPV6_PREFIX, IPV6_PREFIX)))
    return address if parsed is None else str(parsed)


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address, for a connection from `peer` with these lines of `X-Forwarded-For`.

    The lines are one list (RFC 9110, 5.2). Only entries of trusted proxies count: the client is the first address from
    the right that is not a trusted proxy. Entries to the left of an invalid one are ignored.
    """
    hops = [hop for line in forwarded for hop in map(str.strip, line.split(",")) if hop]
    client = peer
    for hop in (peer, *reversed(hops)):
        address = _without_port(hop)
        parsed = _parsed(address)
        if parsed is None:
            break
        client = address
        if not any(parsed in network for network in trusted):
            break
    return client


def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _without_port(hop: str) -> str:
    """Some proxies write `203.0.113.7:52411` and `[2001:db8::1]:443`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, colon, _ = hop.partition(":")
    return host if colon and "." in host else hop
