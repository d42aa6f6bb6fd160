"""Compile all modules of the tests as pytest does: `python -m tests.support.compile`.

Else each process of pytest would compile all of them at the same time.
"""

import importlib.util
import marshal
import os
import py_compile
from pathlib import Path

from _pytest.assertion.rewrite import PYC_TAIL, _read_pyc, _rewrite_test

TESTS = Path(__file__).parents[1]


def is_rewritten(path: Path) -> bool:
    """Report whether pytest rewrites the assertions of a module: tests, and modules with fixtures."""
    return path.name.startswith("test_") or path.name in {"conftest.py", "fixtures.py"}


def rewrite(path: Path) -> None:
    """Write pytest's compiled form of a module with rewritten assertions, if that is missing or old."""
    target = path.parent / "__pycache__" / (path.stem + PYC_TAIL)
    if _read_pyc(path, target) is not None:
        return
    source_hash, code = _rewrite_test(path, None)  # type: ignore[arg-type]  # without a configuration: its defaults
    target.parent.mkdir(exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    # A compiled module that is checked by the hash of its source (PEP 552).
    flags = (3).to_bytes(4, "little")
    unfinished.write_bytes(importlib.util.MAGIC_NUMBER + flags + source_hash[:8] + marshal.dumps(code))
    unfinished.replace(target)


if __name__ == "__main__":
    for each in sorted(TESTS.rglob("*.py")):
        if is_rewritten(each):
            rewrite(each)
        else:
            py_compile.compile(str(each), doraise=True)
