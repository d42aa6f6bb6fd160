from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servicekit.links import is_web_address, usable_link

ADDRESSES = [
    "https://example.com",
    "HTTPS://Example.COM/Room",
    "http://localhost:8000/a?b=c#d",
    "https://meet.google.com/abc-defg-hij",
    "https://us02web.zoom.us/j/123?pwd=a%20b",
    "https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0?context=%7b%22Tid%22%3a%22x%22%7d",
    "https://example.com/@ada",
    "https://example.com/?mail=a@b.example",
    "https://[::1]:8443/",
    "https://127.0.0.1/",
    "https://straße.example/ö",
    "https://example.com.",
    "https://例え.テスト/部屋",
    "https://a_b.example/",
]

REFUSED = [
    "",
    "https://",
    "https:///path",
    "https:example.com",
    "//example.com",
    "example.com",
    "https://a b/",
    "https://example.com/a b",
    "http://[::1",
    "http://[::1]x/",
    "http://[fe80::1%25eth0]/",
    "http://[1.2.3.4]/",
    "https://accounts.google.com@evil.example/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://example.com\\@evil.example/",
    "https:\\\\example.com",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:x/",
    "https://.example.com/",
    "https://a..b/",
    "https://-a.example/",
    "https://ex%61mple.com/",
    "https://1.2.3.4.5/",
    "https://999.1.1.1/",
    "https://exam\u200bple.com/",
    "https://example.com/\u202egpj.exe",
    "https://example.com/a\u200db",
    "https://example.com/\n",
    "https://exam\tple.com/",
    "https://example.com/<script>",
    'https://example.com/"',
    "https://accounts.google.com\uff0f.evil.example/",
    "https://a\u3002b/",
    "javascript:alert(1)",
    "javascript://example.com/%0aalert(1)",
    "data:text/html,x",
    "ftp://example.com",
    "file:///etc/passwd",
    "https://" + "a" * 64 + ".example",
    "https://example.com/" + "a" * 2_000,
]


@pytest.mark.parametrize("text", ADDRESSES)
def test_web_addresses_are_accepted(text: str) -> None:
    assert is_web_address(text)
    assert usable_link(text) == text


@pytest.mark.parametrize("text", REFUSED, ids=ascii)
def test_other_text_is_not_a_web_address(text: str) -> None:
    assert not is_web_address(text)
    assert usable_link(text) is None


parts = st.sampled_from(
    ["https://", "HTTP://", "http:", "//", "@", ":", "[", "]", "::1", "\\", "%40", ".", "a", "evil.example", " "]
)


@given(st.lists(parts | st.text(max_size=3), max_size=8).map("".join))
@example("https://https://\U0001e2af")  # not assigned
def test_accepted_address_has_a_host_and_no_user(text: str) -> None:
    if is_web_address(text):
        found = urlsplit(text)
        assert found.scheme in {"http", "https"}
        assert found.hostname
        assert found.username is None
        assert text.isprintable()
        assert " " not in text
