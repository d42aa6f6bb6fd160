"""One id from the request to the last delivery: in the API's log, the worker's, the CRM's, and in the trace."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from infrastructure.embedded import processes
from infrastructure.observability.tracing import ids_of
from tests.support.command import running_up
from tests.support.messages import until
from tests.support.people import People
from tests.support.processes import ApiProcess, server_environ
from tests.support.receivers import Receiver, receiving

REQUEST_ID = "a-request-of-the-tests"


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


async def books(api: str, **headers: str) -> str:
    """Books as a new user; returns the e-mail address."""
    async with httpx.AsyncClient(base_url=api, timeout=20) as client:
        people = People(client)
        john, ada = await people.facilitator(), await people.user()
        created = await john.creates_event(price=0)
        answer = await client.post("/bookings", json={"event_id": created["id"]}, headers=ada.headers | headers)
        assert answer.status_code == 201
    return ada.email


# Takes 4 s: a start of everything.
async def test_booking_is_found_in_every_log_by_one_request_id(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_up(data) as up:
        ada = await books(up.address("API"), **{"X-Request-ID": REQUEST_ID})
        logs = data / "logs"

        def found(log: str) -> list[dict[str, Any]]:
            return [line for line in lines(logs / f"{log}.log") if line.get("request_id") == REQUEST_ID]

        await until(lambda: len(found("worker-1")) == 4 and len(found("crm")) >= 2)
        assert [(line["event"], line["path"], line["status"]) for line in found("api-1")] == [
            ("request", "/bookings", 201)
        ]
        assert {(line["event"], line["destination"]) for line in found("worker-1")} == {
            ("message_delivered", "crm"),
            ("message_delivered", "email"),
            ("message_delivered", "realtime"),
        }
        assert {line["event"] for line in found("crm")} >= {"request", "notification"}
        for log in logs.glob("*.log"):
            assert ada not in log.read_text(), log


# Traces


@pytest.fixture
async def collector() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def spans(collector: Receiver) -> list[tuple[str, Any]]:
    """Every span with the name of its service."""
    found = []
    for request in collector.requests:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        assert request.headers["content-type"] == "application/x-protobuf"
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans:
            names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            found += [(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans]
    return found


@contextlib.asynccontextmanager
async def running_system(environ: dict[str, str], directory: Path) -> AsyncIterator[str]:
    """An API and a worker; the API's address."""
    worker = processes.spawn(
        [sys.executable, "-P", "-m", "interfaces.cli", "worker"], log=directory / "worker.log", environ=environ
    )
    api = ApiProcess(environ, directory / "api.log")
    try:
        await api.ready()
        yield f"http://{api.address[0]}:{api.address[1]}"
    finally:
        # They send what is left to the collector, which is served here.
        await asyncio.to_thread(api.stop)
        await asyncio.to_thread(processes.stop, worker, (signal.SIGTERM, 10))


UPSTREAM = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("headers", "trace", "parent"),
    [
        ({"X-Request-ID": REQUEST_ID}, f"{ids_of(REQUEST_ID)[0]:032x}", ""),
        ({"traceparent": f"00-{UPSTREAM[0]}-{UPSTREAM[1]}-01"}, UPSTREAM[0], UPSTREAM[1]),
    ],
)
async def test_delivery_belongs_to_the_trace_of_its_request(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    collector: Receiver,
    headers: dict[str, str],
    trace: str,
    parent: str,
) -> None:
    async with receiving() as crm:
        environ = server_environ(
            database_url,
            redis_url,
            tmp_path,
            crm_service_url=crm.url,
            otel_exporter_otlp_endpoint=collector.url,
        )
        async with running_system(environ, tmp_path) as api:
            await books(api, **headers)
            await until(lambda: any("booking_created" in request.body.decode() for request in crm.requests))
            await until(lambda: bool(list((tmp_path / "mail").glob("*.eml"))))
        # Both have ended and sent what they had.
        of_trace = [(service, span) for service, span in spans(collector) if span.trace_id.hex() == trace]
        (request,) = [span for service, span in of_trace if service == "convene-api"]
        deliveries = {span.name: span for service, span in of_trace if service == "convene-worker"}
        assert (request.name, request.parent_span_id.hex()) == ("POST /bookings", parent)
        assert set(deliveries) == {f"deliver booking_created to {name}" for name in ("crm", "email", "realtime")}
        assert {span.parent_span_id for span in deliveries.values()} == {request.span_id}
        (delivered,) = [one for one in crm.requests if "booking_created" in one.body.decode()]
        to_crm = deliveries["deliver booking_created to crm"]
        assert delivered.headers["traceparent"] == f"00-{trace}-{to_crm.span_id.hex()}-01"


# Takes 7 s: processes that end try for 5 s to send their spans.
async def test_unavailable_collector_blocks_nothing(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with receiving() as crm:
        environ = server_environ(
            database_url,
            redis_url,
            tmp_path,
            crm_service_url=crm.url,
            otel_exporter_otlp_endpoint="http://127.0.0.1:9",
        )
        async with running_system(environ, tmp_path) as api:
            await books(api)
            await until(lambda: any("booking_created" in request.body.decode() for request in crm.requests))
