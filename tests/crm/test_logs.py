"""What the CRM's log says, and to whom."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from crm.logging import configure_logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    configure_logs("INFO")
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**configured)


def test_a_line_names_nobody_and_keeps_no_secret(capfd: pytest.CaptureFixture[str]) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    structlog.stdlib.get_logger("crm.here").warning(
        "delivery_given_up",
        response="550 <ada.byron+x@example.com>: no such mailbox",
        nested={"dsn": "postgresql://convene:pass-word@db:5432/crm"},
        many=[f"Authorization: Bearer {token}", token, "whsec_c2VjcmV0"],
        row=3,
    )
    logging.getLogger("a library").error("%s is nobody", "bela@example.org")
    structlog.stdlib.get_logger("crm.here").error("broke", exc_info=ValueError("ada@example.com"))
    said = capfd.readouterr().err
    for private in ("ada", "byron", "bela", "pass-word", "eyJ", "c2VjcmV0"):
        assert private not in said, private
    first, second, third = map(json.loads, said.splitlines())
    assert first["response"] == "550 <***@example.com>: no such mailbox"
    assert first["nested"] == {"dsn": "postgresql://***@db:5432/crm"}
    assert first["row"] == 3
    assert second["event"] == "***@example.org is nobody"
    assert third["exception"].endswith("ValueError: ***@example.com")


def test_a_line_goes_where_standard_error_is_by_then(capfd: pytest.CaptureFixture[str]) -> None:
    with io.StringIO() as elsewhere, contextlib.redirect_stderr(elsewhere):
        configure_logs("INFO")
        logging.getLogger("a library").warning("there")
        assert json.loads(elsewhere.getvalue())["event"] == "there"
    logging.getLogger("a library").warning("here")
    assert json.loads(capfd.readouterr().err)["event"] == "here"
