"""Structured logs: one JSON object a line on standard error, also for libraries."""

from __future__ import annotations

import logging
import logging.config
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor


class StandardError(logging.Handler):
    """Writes to the current `sys.stderr`, so that a later redirection takes effect."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


def configure_logs(level: str) -> None:
    """Send every log line of this process to standard error as JSON."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [structlog.stdlib.add_logger_name, *shared],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _redact,
            structlog.processors.JSONRenderer(),
        ],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": formatter},
            "handlers": {"stderr": {"()": StandardError, "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


# What others say (a mail server's refusal, a driver's error) may name people or repeat a secret.
_PRIVATE = re.compile(
    r"""(?<=://)[^/\s@]*:[^/\s@]*(?=@)  # user and password in an address
    |(?<![^\s@<>()\[\],:;"'/=])[^\s@<>()\[\],:;"'/=]++(?=@[\w-]+\.\w)  # whose mailbox it is
    |\beyJ[\w-]+\.[\w-]+\.[\w-]+  # a JSON web token
    |(?i:(?<=bearer\ )|(?<=whsec_))[^\s"']+""",
    re.VERBOSE,
)


def _redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {key: _private(value) for key, value in event.items()}


def _private(value: Any) -> Any:
    match value:
        case bool() | int() | float() | None:
            return value
        case dict():
            return {key: _private(item) for key, item in value.items()}
        case list() | tuple():
            return [_private(item) for item in value]
        case _:
            return _PRIVATE.sub("***", str(value))
