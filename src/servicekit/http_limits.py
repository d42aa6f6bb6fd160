"""Limits of the HTTP connections of one serving process."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits for one process. `operator_paths` are served beyond the limit; `stream_paths` count as streams."""

    max_connections: int = 1000
    max_idle_connections: int = 500
    max_streams: int = 1000
    head_bytes: int = 32 * 1024
    head_seconds: float = 10
    body_seconds: float = 20
    idle_seconds: float = 5
    operator_paths: frozenset[str] = frozenset()
    stream_paths: frozenset[str] = frozenset()
