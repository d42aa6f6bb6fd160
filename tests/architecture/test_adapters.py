"""Adapters depend on ports. What they share with use cases lies in the domain or beside the ports."""

import ast
from pathlib import Path

import infrastructure

ROOT = Path(infrastructure.__path__[0])
PORTS = {"application.unit_of_work", "application.idempotency", "application.oauth"}
"""Modules of ports that are not named so: each defines what its adapter implements."""


def test_adapters_import_no_use_case() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {node.module}"
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] != "container"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("application.")
        and "ports" not in (node.module or "").split(".")
        and node.module not in PORTS
    }
    assert found == set()
