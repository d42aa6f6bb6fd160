"""Which client addresses count as one network."""

import ipaddress
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.networks import client_of, network_of

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6).filter(lambda address: isinstance(address, IPv6Address) and address.ipv4_mapped is None)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:CB00:7107", "203.0.113.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
        ("command line", "command line"),
        ("", ""),
    ],
)
def test_network_of_an_address(address: str, network: str) -> None:
    assert network_of(address) == network


@given(V4, V4)
def test_two_ipv4_addresses_are_one_network_only_if_equal(
    one: ipaddress.IPv4Address, two: ipaddress.IPv4Address
) -> None:
    assert (network_of(str(one)) == network_of(str(two))) is (one == two)
    assert network_of(f"::ffff:{one}") == network_of(str(one))


@given(V6, st.integers(0, 2**64 - 1))
def test_addresses_of_one_ipv6_64_prefix_are_one_network(address: ipaddress.IPv6Address, host: int) -> None:
    neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | host)
    if neighbour.ipv4_mapped is None:
        assert network_of(str(address)) == network_of(address.exploded) == network_of(str(neighbour))
    other = ipaddress.IPv6Address(int(address) ^ 1 << 64)
    assert network_of(str(address)) != network_of(str(other))


TRUSTED = [ipaddress.ip_network(network) for network in ("10.0.0.0/8", "127.0.0.0/8", "2001:db8:ffff::/48")]
PROXIES = st.sampled_from(["10.0.0.7", "10.255.1.2", "127.0.0.1", "2001:db8:ffff::9", "::ffff:10.0.0.8"])
STRANGERS = st.sampled_from(["203.0.113.7", "198.51.100.1", "2001:db8::1", "::ffff:203.0.113.9"])
NOISE = st.lists(
    st.one_of(STRANGERS, PROXIES, st.sampled_from(["nonsense", "unknown", "_hidden", "1.2.3"])), max_size=4
)


@given(NOISE, STRANGERS, st.lists(PROXIES, max_size=3), PROXIES, st.data())
def test_last_untrusted_address_is_the_client_however_header_lines_are_split(
    claimed: list[str], client: str, way: list[str], peer: str, data: st.DataObject
) -> None:
    """What the client claimed stands left of its address, which the first proxy wrote."""
    hops = [*claimed, client, *way]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(hops)), max_size=3)))
    lines = [", ".join(hops[start:end]) for start, end in zip([0, *cuts], [*cuts, len(hops)], strict=True)]
    assert client_of(peer, lines, TRUSTED) == client


@given(NOISE, STRANGERS)
def test_untrusted_peer_is_the_client_and_its_header_is_ignored(claimed: list[str], peer: str) -> None:
    assert client_of(peer, [", ".join(claimed)], TRUSTED) == peer
    assert client_of("10.0.0.7", [", ".join(claimed)], []) == "10.0.0.7"


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["203.0.113.7:52411"], "203.0.113.7"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["203.0.113.7,, ,10.0.0.2"], "203.0.113.7"),
        (["203.0.113.7", ""], "203.0.113.7"),
        (["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ],
)
def test_client_address_from_the_headers_of_proxies(lines: list[str], client: str) -> None:
    assert client_of("10.0.0.1", lines, TRUSTED) == client
