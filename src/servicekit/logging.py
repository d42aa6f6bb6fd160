"""Structured logs: one JSON object a line on standard error, of structlog and of the libraries that use `logging`."""

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import structlog

from servicekit.log_errors import ErrorLimit, error_text, exception_text
from servicekit.log_writer import LineWriter


def _dropped_note(dropped: Mapping[str, int]) -> str:
    note = {
        "event": "log.lines_dropped",
        "level": "warning",
        "dropped": dict(dropped),
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }
    return json.dumps(note) + "\n"


_STDERR = LineWriter("stderr", note=_dropped_note)


class _Logger:
    """Takes the rendered lines of structlog."""

    def msg(self, line: str) -> None:
        _STDERR.write(line + "\n")

    debug = info = warning = warn = error = err = critical = fatal = exception = failure = log = msg


class _Handler(logging.Handler):
    """Takes the records of `logging`. One that cannot be rendered is counted as dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except structlog.DropEvent:
            return
        except Exception:
            _STDERR.drop("failed")
        else:
            _STDERR.write(line + "\n")


def configure_logging(level: str, *, secret_prefixes: Iterable[str] = (), quiet: Iterable[str] = ()) -> None:
    """Configures the logs of this process. A later call replaces the configuration.

    A log call neither blocks nor raises: `servicekit.log_writer` writes the lines and counts those that it drops.
    Of errors of one kind 10 are logged a minute; the next line of the kind has their number as `suppressed`.

    `level`: a name of `logging`, in either case. `secret_prefixes`: a word that begins with one is a secret, of which
    only the prefix is logged. `quiet`: loggers that write nothing below a warning.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        partial(_limited, ErrorLimit()),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(exception_text),
    ]
    render = structlog.processors.JSONRenderer(serializer=partial(_to_json, _Redaction(secret_prefixes)))
    structlog.configure(
        processors=[partial(_rendered, [*shared, render])],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_names: _Logger(),
        cache_logger_on_first_use=False,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)
    for name in quiet:
        logging.getLogger(name).setLevel(max(logging.WARNING, number))


def dropped_lines() -> Mapping[str, int]:
    """The number of lines that this process did not write, by reason."""
    return _STDERR.dropped


def _rendered(processors: Iterable[Any], logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """The line of an event. One that cannot be rendered is counted as dropped."""
    try:
        for process in processors:
            event = process(logger, method, event)
    except Exception:
        _STDERR.drop("failed")
        raise structlog.DropEvent from None
    return event


def _limited(limit: ErrorLimit, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    if event["level"] != "error":
        return event
    record, error = event.get("_record"), event.get("exc_info")
    if isinstance(error, tuple):
        error = error[1]
    elif error is True:
        error = sys.exc_info()[1]
    suppressed = limit.admit(str(event["event"] if record is None else record.msg), error)
    if suppressed is None:
        _STDERR.drop("repeated")
        raise structlog.DropEvent
    return {**event, "suppressed": suppressed} if suppressed else event


def current_request_id() -> str | None:
    """The id of the request that is being answered, bound by the HTTP middleware."""
    value = structlog.contextvars.get_contextvars().get("request_id")
    return value if isinstance(value, str) else None


class _Redaction:
    """Secrets and mailboxes are redacted in logged texts of other systems, such as errors of a mail server or a
    driver."""

    def __init__(self, secret_prefixes: Iterable[str]) -> None:
        prefixes = ("bearer ", "whsec_", *secret_prefixes)
        before_secrets = "|".join(f"(?<={re.escape(prefix)})" for prefix in prefixes)
        self.private = re.compile(
            rf"""(?<=://)[^/\s@]*:[^/\s@]*(?=@)  # user and password in an address
            |(?<![^\s@<>()\[\],:;"'/=])[^\s@<>()\[\],:;"'/=]++(?=@[\w-]+\.\w)  # the local part of a mail address
            |\beyJ[\w-]+\.[\w-]+\.[\w-]+  # a JSON web token
            |(?i:{before_secrets})[^\s"']+""",
            re.VERBOSE,
        )
        self._signs = ("@", "eyj", *(prefix.lower() for prefix in prefixes))

    def is_needless(self, line: str) -> bool:
        """Whether nothing in a line of ASCII can be private. Most lines need no closer look."""
        line = line.lower()
        return not any(sign in line for sign in self._signs)


_PLAIN = frozenset({str, int, float, bool, type(None)})


def _to_json(redaction: _Redaction, event: dict[str, Any], **_options: Any) -> str:
    if all(type(value) in _PLAIN for value in event.values()):
        with suppress(ValueError):  # a lone surrogate
            line = msgspec.json.encode(event).decode()
            if line.isascii() and redaction.is_needless(line):
                return line
    redacted = _redacted(redaction.private, event)
    try:
        return msgspec.json.encode(redacted).decode()
    except (TypeError, ValueError):  # a subclass of a number, a lone surrogate
        return json.dumps(redacted)


def _redacted(private: re.Pattern[str], value: Any) -> Any:
    if type(value) is str and value.isalnum():
        return value  # A secret or a mailbox has other characters as well.
    match value:
        case bool() | int() | float() | None:
            return value
        case dict():
            return {str(key): _redacted(private, item) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(private, item) for item in value]
        case BaseException():
            return private.sub("***", error_text(value))
        case _:
            return private.sub("***", str(value))
