"""Traces by OTLP over HTTP if `OTEL_EXPORTER_OTLP_ENDPOINT` is set; otherwise the packages are not imported.

The ids of a request's trace and span are derived from the request id, which every message contains. A delivery in
another process, also hours later, therefore belongs to the same trace without further stored data.
"""

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog

from application.outbox.ports import Sender
from domain.outbox import Failed, Message, Outcome

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_TRACE_PARENT = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_given: ContextVar[tuple[int, int] | None] = ContextVar("given_ids", default=None)
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def traceparent() -> str | None:
    """The W3C header `traceparent` for outgoing requests of the current delivery."""
    return _current.get()


def ids_of(request_id: str) -> tuple[int, int]:
    """The trace id and span id of a request. A request id of 32 hexadecimal digits is the trace id."""
    digest = hashlib.sha256(request_id.encode()).digest()
    trace = int(request_id, 16) if re.fullmatch("[0-9a-f]{32}", request_id) else 0
    return trace or int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


class Traces:
    """`service`: `api` or `worker`."""

    def __init__(self, endpoint: str | None, service: str) -> None:
        self._provider = _provider(endpoint, f"convene-{service}") if endpoint else None

    def request(self, request_id: str, *, name: str, status: int, seconds: float, parent: str) -> None:
        """Records the span of a request. `parent` is its `traceparent` header, if any."""
        if self._provider is None:
            return
        from opentelemetry.trace import Link, SpanKind, StatusCode

        ended = time.time_ns()
        trace, span_id = ids_of(request_id)
        context = _span_context(parent)
        same = context is not None and context.trace_id == trace
        token = _given.set((trace, span_id))
        try:
            span = self._provider.get_tracer("convene").start_span(
                name,
                context=_within(context) if same else _within(None),
                kind=SpanKind.SERVER,
                links=[Link(context)] if context and not same else None,
                start_time=ended - int(seconds * 1e9),
                attributes={"http.response.status_code": status, "convene.request_id": request_id},
            )
        finally:
            _given.reset(token)
        if status >= 500 or status == 0:
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    @contextmanager
    def delivery(self, message: Message) -> Iterator[Any]:
        """The span of one delivery attempt; yields it for the result."""
        if self._provider is None:
            yield nullcontext()
            return
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

        caused_by = None
        if message.request_id:
            trace, span_id = ids_of(message.request_id)
            # The same decision as in the process of the request, because it depends on the trace id only.
            sampled = self._provider.sampler.should_sample(None, trace, "").decision.is_sampled()  # type: ignore[no-untyped-call]
            flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
            caused_by = SpanContext(trace, span_id, is_remote=True, trace_flags=flags)
        with self._provider.get_tracer("convene").start_as_current_span(
            f"deliver {message.message_type} to {message.destination}",
            context=_within(caused_by),
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.destination.name": str(message.destination),
                "messaging.message.id": str(message.id),
                "convene.attempt": message.attempt,
                "convene.request_id": message.request_id or "",
            },
            # The text of an exception may have data of users. The worker's log has the exception.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            span_context = span.get_span_context()
            token = _current.set(
                f"00-{span_context.trace_id:032x}-{span_context.span_id:016x}-{span_context.trace_flags:02x}"
            )
            try:
                yield span
            finally:
                _current.reset(token)

    async def close(self) -> None:
        """Sends the remaining spans, for at most a second."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.force_flush, 1_000)


class TracedSender:
    """Adds the id of the causing request to log lines, to the span and to outgoing requests of a sender."""

    def __init__(self, sender: Sender, traces: Traces) -> None:
        self.sender = sender
        self._traces = traces

    async def deliver(self, message: Message) -> Outcome:
        ids = {"request_id": message.request_id, "message_id": str(message.id)}
        with structlog.contextvars.bound_contextvars(**ids), self._traces.delivery(message) as span:
            try:
                outcome = await self.sender.deliver(message)
            except Exception:
                _set_failed(span)
                raise
            if isinstance(outcome, Failed):
                _set_failed(span)
            return outcome


def _set_failed(span: Any) -> None:
    if not isinstance(span, nullcontext):
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR)


def _provider(endpoint: str, service: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class GivenIds(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            given = _given.get()
            return given[0] if given else super().generate_trace_id()

        def generate_span_id(self) -> int:
            given = _given.get()
            return given[1] if given else super().generate_span_id()

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    # An unreachable collector must not delay the exit.
    provider = TracerProvider(resource=Resource.create(named), id_generator=GivenIds(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=5)))
    return provider


def _span_context(header: str) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    found = _TRACE_PARENT.fullmatch(header)
    if found is None:
        return None
    trace, span, flags = (int(found[part], 16) for part in ("trace", "span", "flags"))
    return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags)) if trace and span else None


def _within(parent: Any) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    return set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()
