"""Mutation testing: do the tests in memory notice when a rule is changed?

mutmut makes the mutants of all functions of the domain and of the payments' use cases, in a copy of the checkout; it
leaves out properties and constants. One pytest session imports and collects everything once. It runs each mutant in a
fork of itself, with the tests that call the mutated function, until the first one fails. Mutants with the same code run
once, and those listed in `equivalent_mutants.txt` do not run. `--results FILE` adds the results to a file and leaves
out the mutants that it holds, so that all mutants can be run in parts.
"""

import argparse
import ast
import difflib
import gc
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPY = ROOT / ".venv" / "mutation"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
TARGETS = ("src/domain", "src/application/payments")
RULES = ("tests/domain", "tests/application")
LEAST = 0.9
CPU_SECONDS = 10
"""For the tests of one mutant, in addition to what they need without it: an endless loop is noticed."""

# Tests that list the methods of a class also see the mutants.
LISTING = (
    "tests/domain/test_appointment_changes.py::test_table_contains_every_transition",
    "tests/domain/test_event_changes.py::test_every_method_that_returns_an_event_is_a_transition",
)


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    """`MUTANT_UNDER_TEST` selects it."""
    function: str
    change: str
    """The lines that differ, without formatting; `#2` follows if the function has such a change twice."""
    digest: str
    """Of the function before and after: a result does not count any more when the function is changed."""


def make_mutants() -> list[Mutant]:
    """All mutants that differ from the function and from one another; their code is in the copy."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    shutil.rmtree(COPY, ignore_errors=True)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(ROOT / "pyproject.toml", COPY)
    found: dict[str, Mutant] = {}
    for path in (path for target in TARGETS for path in sorted((COPY / target).rglob("*.py"))):
        mutated = mutate_file_contents(str(path), path.read_text(encoding="utf-8"))
        path.write_text(mutated.code, encoding="utf-8")
        for mutant in _mutants_in(mutated.code, get_mutant_name(path.relative_to(COPY), "")):
            found.setdefault(mutant.digest, mutant)
    return sorted(found.values(), key=lambda mutant: mutant.name)


def _mutants_in(code: str, module: str) -> Iterator[Mutant]:
    originals: dict[str, str] = {}
    changes: Counter[tuple[str, str]] = Counter()
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or "__mutmut_" not in node.name:
            continue
        name = node.name
        mangled = name.rpartition("__mutmut_")[0]
        function = module + mangled.removeprefix("xǁ").removeprefix("x_").replace("ǁ", ".")
        node.name, node.decorator_list = "mutated", []
        text = ast.unparse(node)
        original = originals.setdefault(function, text)
        if text == original:
            continue
        change = _change(original, text)
        changes[function, change] += 1
        if changes[function, change] > 1:
            change += f" #{changes[function, change]}"
        digest = hashlib.sha256("\n".join((function, original, text)).encode()).hexdigest()[:16]
        yield Mutant(module + name, function, change, digest)


def _change(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in changed)


def equivalents() -> dict[tuple[str, str], str]:
    """The reason of each mutant that behaves like the function, by function and change."""
    found = {}
    reason = ""
    for block in EQUIVALENT.read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line]
        if given := [line.removeprefix("#").strip() for line in lines if line.startswith("#")]:
            reason = " ".join(given)
        if mutant := [line for line in lines if not line.startswith("#")]:
            found[mutant[0], "\n".join(mutant[1:])] = reason
    return found


def test(mutants: Sequence[Mutant], results: Path) -> None:
    """Add the result of each mutant: `killed`, `survived`, `timeout`, or `untested` if no test calls the function."""
    chosen = {"results": str(results), "mutants": [[mutant.digest, mutant.name] for mutant in mutants]}
    (COPY / "chosen.json").write_text(json.dumps(chosen), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if name != "LONG_RUN"}
    environ |= {"PYTHONPATH": os.pathsep.join([f"{COPY}/src", str(COPY), *sys.path[1:]]), "MUTANT_UNDER_TEST": "none"}
    plugin = ("-p", "tests.support.mutation", "-p", "no:cacheprovider", "--hypothesis-profile=few")
    left_out = [f"--deselect={each}" for each in LISTING]
    command = [sys.executable, "-m", "pytest", "-n0", "-q", *plugin, "--timeout=0", *left_out, *RULES]
    subprocess.run(command, cwd=COPY, env=environ | {"PYTEST_ADDOPTS": ""}, check=True)


def results_in(path: Path) -> dict[str, str]:
    """The last result of each mutant, by its digest."""
    if not path.exists():
        return {}
    return {line.split()[0]: line.split()[1] for line in path.read_text(encoding="utf-8").splitlines()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/mutation", description=__doc__)
    parser.add_argument("--sample", type=int, help="run as many mutants, chosen at random; otherwise all of them")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--only", default="", help="only mutants whose names contain this")
    parser.add_argument("--results", type=Path, help="a file that keeps the results of several runs")
    parser.add_argument("--again", action="store_true", help="run those that survived according to the file")
    chosen = parser.parse_args()
    results = (chosen.results or COPY / "results").resolve()
    mutants = make_mutants()
    reasons = equivalents()
    for function, change in sorted(reasons.keys() - {(mutant.function, mutant.change) for mutant in mutants}):
        print(f"listed as equivalent, but made no more: {function}\n{change}")
    mutants = [each for each in mutants if chosen.only in each.name and (each.function, each.change) not in reasons]
    known = results_in(results)
    survived = {digest for digest, result in known.items() if result in {"survived", "untested"}}
    wanted = [each for each in mutants if (each.digest in survived if chosen.again else each.digest not in known)]
    random.Random(chosen.seed).shuffle(wanted)
    if wanted[: chosen.sample]:
        test(wanted[: chosen.sample], results)
    known = results_in(results)
    measured = [each for each in mutants if each.digest in known]
    for mutant in measured:
        if known[mutant.digest] in {"survived", "untested"}:
            print(f"{known[mutant.digest]}: {mutant.name}\n{mutant.function}\n{mutant.change}\n")
    counted = Counter(known[mutant.digest] for mutant in measured)
    score = (counted["killed"] + counted["timeout"]) / max(len(measured), 1)
    print(f"{len(measured)} of {len(mutants)} mutants, {dict(counted)}: {score:.1%}, at least {LEAST:.0%} are needed")
    return 0 if score >= LEAST else 1


# Within the session of pytest, in the copy


def pytest_runtestloop(session: pytest.Session) -> bool:
    by_function = _tests_by_function(session.items)
    gc.collect()
    gc.freeze()
    calls = Counter(item for items in by_function.values() for item in items)
    items = {item.nodeid: item for item in session.items}
    chosen = json.loads(Path("chosen.json").read_text(encoding="utf-8"))
    mutants: list[tuple[str, str]] = chosen["mutants"]
    started = time.monotonic()
    for number, (digest, name) in enumerate(mutants, 1):
        # Tests of few functions first: they are about this one.
        tests = sorted(by_function.get(name.partition("__mutmut_")[0], ()), key=lambda item: (calls[item], item))
        result = _result_of(name, [items[each] for each in tests]) if tests else "untested"
        with Path(chosen["results"]).open("a", encoding="utf-8") as results:
            results.write(f"{digest} {result} {name}\n")
        if number % 50 == 0:
            print(f"{number} of {len(mutants)} in {time.monotonic() - started:.0f} s", flush=True)
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
