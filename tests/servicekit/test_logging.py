"""Logs: one JSON object a line, without mailboxes and secrets, on the current standard error."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from infrastructure.observability import logging as backend
from servicekit.logging import configure_logging

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def _previous_configuration() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**configured)


def test_log_lines_contain_no_email_address_and_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", secret_prefixes=["sk_live_"])
    structlog.get_logger().warning(
        "refused",
        error="550 <ada.byron+x@example.com>: no such mailbox",
        path="/people/ada@example.com",
        nested={"dsn": "postgresql://convene:pass-word@db:5432/convene"},
        header=f"Authorization: Bearer {TOKEN}",
        many=("two\nada@example.co.uk", TOKEN, "whsec_c2VjcmV0", b"bela@example.com"),
        row=3,
    )
    logging.getLogger("a library").error("%s does not like sk_live_4eC39HqLyjW", "bela@example.org")
    structlog.stdlib.get_logger("crm.here").error("broke", exc_info=ValueError("ada@example.com"))
    written = capfd.readouterr().err
    for private in ("ada", "byron", "bela", "pass-word", "eyJ", "c2VjcmV0", "4eC39"):
        assert private not in written, private
    first, second, third = map(json.loads, written.splitlines())
    assert first["error"] == "550 <***@example.com>: no such mailbox"
    assert first["path"] == "/people/***@example.com"
    assert first["nested"] == {"dsn": "postgresql://***@db:5432/convene"}
    assert first["many"][:3] == ["two\n***@example.co.uk", "***", "whsec_***"]
    assert (first["row"], first["level"]) == (3, "warning")
    assert second["event"] == "***@example.org does not like sk_live_***"
    assert second["logger"] == "a library"
    assert third["exception"].endswith("ValueError: ***@example.com")
    assert all(line["timestamp"].endswith("Z") for line in (first, second, third))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ada@example.com", "***@example.com"),
        ("postgresql://convene:pass-word@db:5432/convene", "postgresql://***@db:5432/convene"),
        (f"token {TOKEN}", "token ***"),
        ("BEARER c2VjcmV0", "BEARER ***"),
        ("Whsec_c2VjcmV0", "Whsec_***"),
        ("SK_live_c2VjcmV0", "SK_live_***"),
        ("BEARER ſecret whſec_c2VjcmV0", "BEARER *** whſec_***"),
        ("nothing private, beyond ASCII: Zoë", "nothing private, beyond ASCII: Zoë"),
    ],
)
def test_text_alone_in_a_line_is_redacted(text: str, shown: str, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", secret_prefixes=["sk_live_"])
    structlog.get_logger().info("seen", text=text, number=1, none=None)
    structlog.get_logger().info(text)
    first, second = map(json.loads, capfd.readouterr().err.splitlines())
    assert (first["text"], second["event"]) == (shown, shown)


def test_backend_logs_no_stripe_key(capfd: pytest.CaptureFixture[str]) -> None:
    backend.configure_logging("info")
    logging.getLogger("a library").error("sk_live_4eC39HqLyjW and SK_TEST_4eC39HqLyjW")
    assert json.loads(capfd.readouterr().err)["event"] == "sk_live_*** and SK_TEST_***"


@pytest.mark.parametrize("level", ["debug", "INFO", "warning", "ERROR"])
def test_lines_below_the_level_are_not_written(level: str, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(level, quiet=["talkative"])
    names = ["debug", "info", "warning", "error"]
    for name in names:
        for logger in (structlog.get_logger(), logging.getLogger("a library"), logging.getLogger("talkative")):
            getattr(logger, name)(f"{name} written")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    shown = names[names.index(level.lower()) :]
    for logger_name in (None, "a library"):
        assert [line["level"] for line in lines if line.get("logger") == logger_name] == shown
    talkative = [name for name in shown if name in {"warning", "error"}]
    assert [line["level"] for line in lines if line.get("logger") == "talkative"] == talkative


def test_value_that_is_not_json_is_logged_as_text(capfd: pytest.CaptureFixture[str]) -> None:
    class Number(int):
        pass

    configure_logging("info")
    structlog.get_logger().info("odd", lone="\ud800", number=Number(5), keys={(1, 2): 3}, an_object=ValueError("x"))
    line = json.loads(capfd.readouterr().err)
    assert line["lone"] == "\ud800"
    assert line["number"] == 5
    assert line["keys"] == {"(1, 2)": 3}
    assert line["an_object"] == "x"


def test_line_is_written_to_the_current_standard_error() -> None:
    """A logger made while it was redirected does not write to a closed stream."""
    with io.StringIO() as earlier, contextlib.redirect_stderr(earlier):
        configure_logging("warning")
        logger = structlog.get_logger()
        logger.warning("first")
        assert json.loads(earlier.getvalue())["event"] == "first"
    with io.StringIO() as later, contextlib.redirect_stderr(later):
        logger.warning("second")
        logging.getLogger("a library").warning("third")
        assert [json.loads(line)["event"] for line in later.getvalue().splitlines()] == ["second", "third"]
