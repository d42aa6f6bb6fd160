"""Mutation testing: do the tests in memory notice when a rule is changed?

mutmut makes the mutants of all functions of the domain and of the payments' use cases, in a copy of the checkout; it
leaves out properties and constants. One pytest session imports and collects everything once. It runs each mutant in a
fork of itself, with the tests that call the mutated function, until the first one fails.
"""

import argparse
import gc
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPY = ROOT / ".venv" / "mutation"
TARGETS = ("src/domain", "src/application/payments")
RULES = ("tests/domain", "tests/application")
LEAST = 0.9
CPU_SECONDS = 20
"""For the tests of one mutant, in addition to what they need without it: an endless loop is noticed."""

# Tests that list the methods of a class also see the mutants.
LISTING = (
    "tests/domain/test_appointment_changes.py::test_table_contains_every_transition",
    "tests/domain/test_event_changes.py::test_every_method_that_returns_an_event_is_a_transition",
)


def make_mutants() -> list[str]:
    """The names of all mutants; their code is in the copy. `MUTANT_UNDER_TEST` selects one."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    shutil.rmtree(COPY, ignore_errors=True)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(ROOT / "pyproject.toml", COPY)
    names = []
    for path in (path for target in TARGETS for path in sorted((COPY / target).rglob("*.py"))):
        mutated = mutate_file_contents(str(path), path.read_text(encoding="utf-8"))
        path.write_text(mutated.code, encoding="utf-8")
        names += [get_mutant_name(path.relative_to(COPY), each) for each in mutated.mutant_names]
    return sorted(names)


def test(names: Sequence[str]) -> dict[str, str]:
    """The result of each mutant: `killed`, `survived`, `timeout`, or `untested` if no test calls the function."""
    (COPY / "names.json").write_text(json.dumps(names), encoding="utf-8")
    (COPY / "results").write_text("", encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if name != "LONG_RUN"}
    environ |= {"PYTHONPATH": os.pathsep.join([f"{COPY}/src", str(COPY), *sys.path[1:]]), "MUTANT_UNDER_TEST": "none"}
    plugin = ("-p", "tests.support.mutation", "-p", "no:cacheprovider", "--hypothesis-profile=few")
    left_out = [f"--deselect={each}" for each in LISTING]
    command = [sys.executable, "-m", "pytest", "-n0", "-q", *plugin, "--timeout=0", *left_out, *RULES]
    subprocess.run(command, cwd=COPY, env=environ | {"PYTEST_ADDOPTS": ""}, check=True)
    return dict(line.split() for line in (COPY / "results").read_text(encoding="utf-8").splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/mutation", description=__doc__)
    parser.add_argument("--sample", type=int, help="run as many mutants, chosen at random; otherwise all of them")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--only", default="", help="only mutants whose names contain this")
    chosen = parser.parse_args()
    names = [name for name in make_mutants() if chosen.only in name]
    random.Random(chosen.seed).shuffle(names)
    results = test(names[: chosen.sample])
    counted = Counter(results.values())
    for name, result in sorted(results.items()):
        if result in {"survived", "untested"}:
            print(f"{result}: {name}")
    score = (counted["killed"] + counted["timeout"]) / len(results)
    print(f"{len(results)} of {len(names)} mutants, {dict(counted)}: {score:.1%}, at least {LEAST:.0%} are needed")
    return 0 if score >= LEAST else 1


# Within the session of pytest, in the copy


def pytest_runtestloop(session: pytest.Session) -> bool:
    by_function = _tests_by_function(session.items)
    gc.collect()
    gc.freeze()
    calls = Counter(item for items in by_function.values() for item in items)
    items = {item.nodeid: item for item in session.items}
    names: list[str] = json.loads(Path("names.json").read_text(encoding="utf-8"))
    started = time.monotonic()
    for number, name in enumerate(names, 1):
        # Tests of few functions first: they are about this one.
        tests = sorted(by_function.get(name.partition("__mutmut_")[0], ()), key=lambda item: (calls[item], item))
        result = _result_of(name, [items[each] for each in tests]) if tests else "untested"
        with Path("results").open("a", encoding="utf-8") as results:
            results.write(f"{name} {result}\n")
        if number % 50 == 0:
            print(f"{number} of {len(names)} in {time.monotonic() - started:.0f} s", flush=True)
    return True


def _tests_by_function(items: Sequence[pytest.Item]) -> dict[str, list[str]]:
    """The tests that call each function. All tests have to pass without a mutant."""

    def record() -> int:
        from mutmut.state import state

        os.environ["MUTANT_UNDER_TEST"] = "stats"
        found = defaultdict(list)
        for number, item in enumerate(items):
            if not _passes(item, items[number + 1 : number + 2]):
                print(f"fails without a mutant: {item.nodeid}", flush=True)
                return 1
            for function in state()._stats:
                found[function].append(item.nodeid)
            state()._stats.clear()
        Path("calls.json").write_text(json.dumps(found), encoding="utf-8")
        return 0

    assert _status_in_a_fork(record) == 0
    calls: dict[str, list[str]] = json.loads(Path("calls.json").read_text(encoding="utf-8"))
    return calls


def _result_of(mutant: str, items: Sequence[pytest.Item]) -> str:
    def run() -> int:
        os.environ["MUTANT_UNDER_TEST"] = mutant
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS + len(items) // 20,) * 2)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        return 0 if all(_passes(item, items[number + 1 : number + 2]) for number, item in enumerate(items)) else 1

    status = _status_in_a_fork(run)
    return "timeout" if os.WIFSIGNALED(status) else "killed" if status else "survived"


def _passes(item: pytest.Item, following: Sequence[pytest.Item]) -> bool:
    from _pytest.runner import runtestprotocol

    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=next(iter(following), None)))


def _status_in_a_fork(run: Callable[[], int]) -> int:
    pid = os.fork()
    if not pid:
        try:
            os._exit(run())
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


if __name__ == "__main__":
    sys.exit(main())
