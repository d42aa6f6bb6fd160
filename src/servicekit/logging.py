"""Structured logs: one JSON object a line on standard error, of structlog and of the libraries that use `logging`."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any, TextIO, cast

import msgspec
import structlog


class _StandardError(io.TextIOBase):
    """Writes to the current `sys.stderr`, so that a later redirection takes effect."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_STDERR = cast(TextIO, _StandardError())


def configure_logging(level: str, *, secret_prefixes: Iterable[str] = (), quiet: Iterable[str] = ()) -> None:
    """Configures the logs of this process. A later call replaces the configuration.

    `level`: a name of `logging`, in either case. `secret_prefixes`: a word that begins with one is a secret, of which
    only the prefix is logged. `quiet`: loggers that write nothing below a warning.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render = structlog.processors.JSONRenderer(serializer=partial(_to_json, _private_text(secret_prefixes)))
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=_STDERR),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_STDERR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)
    for name in quiet:
        logging.getLogger(name).setLevel(max(logging.WARNING, number))


def current_request_id() -> str | None:
    """The id of the request that is being answered, bound by the HTTP middleware."""
    value = structlog.contextvars.get_contextvars().get("request_id")
    return value if isinstance(value, str) else None


def _private_text(secret_prefixes: Iterable[str]) -> re.Pattern[str]:
    """Matches secrets and mailboxes, which are redacted in logged texts of other systems (such as errors of a mail
    server or a driver)."""
    before_secrets = "|".join(f"(?<={re.escape(prefix)})" for prefix in ("bearer ", "whsec_", *secret_prefixes))
    return re.compile(
        rf"""(?<=://)[^/\s@]*:[^/\s@]*(?=@)  # user and password in an address
        |(?<![^\s@<>()\[\],:;"'/=])[^\s@<>()\[\],:;"'/=]++(?=@[\w-]+\.\w)  # the local part of a mail address
        |\beyJ[\w-]+\.[\w-]+\.[\w-]+  # a JSON web token
        |(?i:{before_secrets})[^\s"']+""",
        re.VERBOSE,
    )


def _to_json(private: re.Pattern[str], event: dict[str, Any], **_options: Any) -> str:
    redacted = _redacted(private, event)
    try:
        return msgspec.json.encode(redacted).decode()
    except (TypeError, ValueError):  # a subclass of a number, a lone surrogate
        return json.dumps(redacted)


def _redacted(private: re.Pattern[str], value: Any) -> Any:
    match value:
        case bool() | int() | float() | None:
            return value
        case dict():
            return {str(key): _redacted(private, item) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(private, item) for item in value]
        case _:
            return private.sub("***", str(value))
