"""What `/metrics` shows: names, types and labels, and the values of those labels that have few."""

from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.settings import settings_for

_TOKEN = "a token for the metrics of the tests, long enough"
_FEW = ("destination", "state", "result", "status", "method", "reason")


async def booking_api(dsn: str, data: Path) -> dict[str, Any]:
    """Of a process that has answered a request and refused another."""
    settings = settings_for(dsn, "redis://127.0.0.1:1", data, metrics_token=_TOKEN)
    async with serving(create_app(settings)) as address, httpx.AsyncClient(base_url=address, timeout=20) as client:
        await client.get("/health")
        await client.get("/events/404")
        text = (await client.get("/metrics", headers={"Authorization": f"Bearer {_TOKEN}"})).text
    found = {}
    for family in sorted(text_string_to_metric_families(text), key=lambda family: family.name):
        labels: dict[str, Any] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                seen = labels.setdefault(label, set())
                seen.update([value] if label in _FEW else [])
        found[family.name] = {
            "type": family.type,
            "samples": sorted({sample.name for sample in family.samples}),
            "labels": {label: sorted(values) for label, values in sorted(labels.items())},
        }
    return found
