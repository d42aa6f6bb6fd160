"""Structured logs: one JSON object a line, with the request id from the request to the last delivery."""

import io
import logging
import re
import sys
from typing import Any, TextIO, cast

import msgspec
import structlog

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _StandardError(io.TextIOBase):
    """Writes to the current `sys.stderr`, so that a later redirection takes effect."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


_STDERR = cast(TextIO, _StandardError())


def configure_logging(level: str) -> None:
    """For structlog and, through it, for what libraries log; to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    render = structlog.processors.JSONRenderer(serializer=_to_json)
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=_STDERR),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_STDERR)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=_LEVELS[level], force=True)
    for chatty in ("httpx", "httpcore", "stripe", "arq", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, _LEVELS[level]))


def current_request_id() -> str | None:
    """The id of the request that is being answered, bound by the HTTP edge."""
    value = structlog.contextvars.get_contextvars().get("request_id")
    return value if isinstance(value, str) else None


def _to_json(event: dict[str, Any], **_options: Any) -> str:
    return msgspec.json.encode(_private(event)).decode()


# What others say (a mail server's refusal, a driver's error) may name people or repeat a secret.
_PRIVATE = re.compile(
    r"""(?<=://)[^/\s@]*:[^/\s@]*(?=@)  # user and password in an address
    |(?<![^\s@<>()\[\],:;"'/=])[^\s@<>()\[\],:;"'/=]++(?=@[\w-]+\.\w)  # whose mailbox it is
    |\beyJ[\w-]+\.[\w-]+\.[\w-]+  # a JSON web token
    |(?i:(?<=bearer\ )|(?<=whsec_)|(?<=sk_live_)|(?<=sk_test_))[^\s"']+""",
    re.VERBOSE,
)


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
