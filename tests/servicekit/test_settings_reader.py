"""The reader of settings: types, files of secrets, and errors of one line that show no secret."""

from pathlib import Path
from typing import Any

import pytest

from servicekit.settings_reader import PUBLISHED_SECRETS, SettingsError, SettingsReader
from servicekit.smtp_server import SmtpServer

SECRET = "secret-word-" * 4


def reader(**environ: str) -> SettingsReader:
    return SettingsReader(environ, frozenset({"TOKEN", "DSN", "MAIL"}), lambda name: f"give {name.lower()}")


@pytest.mark.parametrize(
    ("given", "read", "value"),
    [
        ("", lambda read: read.text("A", "x"), "x"),
        (" y ", lambda read: read.text("A", "x"), "y"),
        ("7", lambda read: read.whole("A", "1", 0, 7), 7),
        ("ON", lambda read: read.switch("A", "false"), True),
        ("", lambda read: read.switch("A", "true"), True),
        ("List", lambda read: read.choice("A", "tree", ("list", "tree")), "list"),
        ("a, ,b,", lambda read: read.items("A"), ("a", "b")),
        ("https://h/p/", lambda read: read.address("A", ""), "https://h/p/"),
        ("https://h/p/", lambda read: read.url("A", ""), "https://h/p"),
        ("http://crm_service:5001", lambda read: read.url("A", ""), "http://crm_service:5001"),
        ("unix:///run/redis.sock", lambda read: read.url("A", "", schemes=("unix",)), "unix:///run/redis.sock"),
        ("smtp://h", lambda read: read.smtp_server("A"), SmtpServer(host="h", port=25)),
        ("", lambda read: read.smtp_server("A"), None),
        ("postgres://u@h/d", lambda read: read.database_url("A"), "postgresql://u@h/d"),
        ("postgresql+asyncpg://u@/d?host=/s", lambda read: read.database_url("A"), "postgresql://u@/d?host=/s"),
        ("Convene <a@b.example>", lambda read: read.mailbox("A", ""), "Convene <a@b.example>"),
        ("whsec_a2V5,a2V5", lambda read: read.signing_keys("A"), (b"key", b"key")),
        ("", lambda read: read.signing_keys("A"), ()),
    ],
)
def test_value_is_converted_to_its_type(given: str, read: Any, value: object) -> None:
    assert read(reader(A=given)) == value


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", lambda read: read.text("A", None)),
        ("a\nb", lambda read: read.text("A", "")),
        ("8", lambda read: read.whole("A", "1", 0, 7)),
        ("²", lambda read: read.whole("A", "1", 0, 7)),
        ("9" * 5000, lambda read: read.whole("A", "1", 0, 7)),
        ("perhaps", lambda read: read.switch("A", "true")),
        ("bush", lambda read: read.choice("A", "tree", ("list", "tree"))),
        ("ftp://h", lambda read: read.url("A", "")),
        ("http://", lambda read: read.url("A", "")),
        ("http://h:port", lambda read: read.url("A", "")),
        ("http://h:0", lambda read: read.url("A", "")),
        ("http://a host", lambda read: read.url("A", "")),
        (f"http://u:{SECRET}@h", lambda read: read.address("A", "")),
        (f"smtp://u:{SECRET}@h?tls=1", lambda read: read.smtp_server("A")),
        (f"mysql://u:{SECRET}@h/d", lambda read: read.database_url("A")),
        (f"postgresql://u:{SECRET}@[h/d", lambda read: read.database_url("A")),
        (f"postgresql://u:{SECRET}@h", lambda read: read.database_url("A")),
        ("no address", lambda read: read.mailbox("A", "")),
        (f"{SECRET}!", lambda read: read.signing_keys("A")),
        ("short", lambda read: read.secret("A", shortest=6)),
    ],
)
def test_invalid_value_is_an_error_of_one_line_with_the_setting_name(given: str, read: Any) -> None:
    with pytest.raises(SettingsError, match=r"^A [^\n]+$|^A: [^\n]+$") as refused:
        read(reader(A=given))
    assert SECRET not in str(refused.value)


def test_only_secrets_can_be_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(f"{SECRET}\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    path = str(tmp_path / "file")
    assert reader(TOKEN_FILE=path).secret("TOKEN", shortest=1) == SECRET
    assert reader(A_FILE=path).text("A", "default") == "default"
    for environ in (
        {"TOKEN_FILE": path, "TOKEN": "another"},
        {"TOKEN_FILE": str(tmp_path / "absent")},
        {"TOKEN_FILE": str(tmp_path / "binary")},
        {"TOKEN_FILE": str(tmp_path)},
    ):
        with pytest.raises(SettingsError, match=r"^TOKEN[^\n]+$"):
            reader(**environ).secret("TOKEN", shortest=1)


@pytest.mark.parametrize("published", sorted(PUBLISHED_SECRETS))
def test_published_example_secret_is_for_the_embedded_mode_only(published: str) -> None:
    with pytest.raises(SettingsError, match=r"^TOKEN is an example .*give token$"):
        reader(TOKEN=published).secret("TOKEN", shortest=1)
    assert reader(TOKEN=published, CONVENE_EMBEDDED="1").secret("TOKEN", shortest=100) == published
