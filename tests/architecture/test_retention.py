"""docs/operations/retention.md has every table and says how it is kept from growing, as the code does it."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crm.retention import rules as crm_rules
from crm.settings import load_settings as load_crm_settings
from infrastructure.container.retention import rules
from infrastructure.settings import load_settings
from servicekit.retention import Rule
from tests.architecture.test_settings_listed import NEEDED, listed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations" / "retention.md").read_text(encoding="utf-8")
GOLDEN = ROOT / "tests" / "architecture" / "golden"
APART = {"idempotency_keys", "audit_log"}
"""Pruned by a use case."""


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below this heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


PRUNED = {
    service: {names(kind)[0]: (names(what), kept, names(setting)) for kind, what, kept, setting, _ in rows(heading)}
    for service, heading in (("booking-api", "Booking API"), ("crm", "CRM"))
}
"""By service and kind: the tables, how long they are kept, the setting."""
OTHERS = {
    service: [name for cell, _ in rows(heading) for name in names(cell)]
    for service, heading in (
        ("booking-api", "Other tables of the booking API"),
        ("crm", "Other tables of the CRM"),
    )
}


def tables(service: str) -> set[str]:
    golden: Mapping[str, Any] = json.loads((GOLDEN / f"database-{service}.json").read_text(encoding="utf-8"))
    return set(golden["tables"])


def undocumented(service: str, found: Iterable[str]) -> set[str]:
    pruned = {name for what, _, _ in PRUNED[service].values() for name in what}
    return set(found) - pruned - set(OTHERS[service])


@pytest.mark.parametrize("service", PRUNED)
def test_every_table_is_pruned_or_kept_for_a_stated_reason(service: str) -> None:
    assert undocumented(service, tables(service)) == set()
    assert undocumented(service, {*tables(service), "a_new_table"}) == {"a_new_table"}
    assert len(OTHERS[service]) == len(set(OTHERS[service]))
    documented = {name for what, _, _ in PRUNED[service].values() for name in what} | set(OTHERS[service])
    assert documented <= tables(service), "no such table"


def test_every_other_table_has_a_reason() -> None:
    for head in ("Other tables of the booking API", "Other tables of the CRM", "Files"):
        for cells in rows(head):
            assert all(len(cell) > 3 for cell in cells), cells


def of(service: str, **changed: str) -> dict[str, Rule]:
    if service == "crm":
        found = crm_rules(load_crm_settings({**NEEDED, **changed}))
    else:
        found = rules(load_settings({**NEEDED, **changed}))
    return {rule.kind: rule for rule in found}


@pytest.mark.parametrize("service", PRUNED)
def test_page_lists_the_rules_and_their_tables(service: str) -> None:
    found = of(service)
    assert found.keys() == PRUNED[service].keys() - APART
    for kind, rule in found.items():
        changed = set(re.findall(r"(?:DELETE FROM|(?<!FOR )UPDATE) (\w+)", f"{rule.prune} {rule.then or ''}"))
        assert changed <= set(PRUNED[service][kind][0]), kind


@pytest.mark.parametrize("service", PRUNED)
def test_page_has_the_default_of_each_setting(service: str) -> None:
    for kind, (_, kept_for, settings) in PRUNED[service].items():
        for name in settings:
            assert kept_for.startswith(f"{listed()[name]} days"), (kind, name)


@pytest.mark.parametrize("service", PRUNED)
def test_zero_days_keep_all_rows_and_another_number_is_used(service: str) -> None:
    by_default = of(service)
    for kind, (_, _, settings) in PRUNED[service].items():
        for name in settings:
            if kind in APART:
                continue
            assert kind not in of(service, **{name: "0"}), (kind, name)
            longer = of(service, **{name: "1000"})[kind].age - by_default[kind].age
            assert longer == timedelta(days=1000 - int(listed()[name])), (kind, name)


@pytest.mark.parametrize("service", PRUNED)
def test_rules_are_bounded_and_wait_for_no_row(service: str) -> None:
    for kind, rule in of(service).items():
        assert "LIMIT $2" in rule.prune, kind
        assert "SKIP LOCKED" in rule.prune, kind
        assert "ORDER BY" in rule.prune, kind
