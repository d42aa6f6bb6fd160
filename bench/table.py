"""The table of the measurements, in Markdown: work, now, limit or peer, to reach."""

from collections.abc import Iterable

import msgspec

HEAD = "| work | now | limit or peer, same run | to reach | |\n| --- | --- | --- | --- | --- |"


class Goal(msgspec.Struct, frozen=True):
    """A limit for one figure. `text` is printed."""

    text: str
    met: bool


class Line(msgspec.Struct, frozen=True):
    work: str
    now: str
    limit: str = "–"
    goals: tuple[Goal, ...] = ()

    def __str__(self) -> str:
        reach = ", ".join(goal.text for goal in self.goals) or "–"
        missed = ", ".join(goal.text for goal in self.goals if not goal.met)
        verdict = "" if not self.goals else f"missed: {missed}" if missed else "reached"
        return f"| {self.work} | {self.now} | {self.limit} | {reach} | {verdict} |"


def at_least(measured: float, wanted: float, unit: str = "") -> Goal:
    return Goal(f"≥ {wanted:g}{_suffix(unit)}", measured >= wanted)


def at_most(measured: float, wanted: float, unit: str = "") -> Goal:
    return Goal(f"≤ {wanted:g}{_suffix(unit)}", measured <= wanted)


def table(lines: Iterable[Line]) -> str:
    return "\n".join([HEAD, *map(str, lines)])


def _suffix(unit: str) -> str:
    return f" {unit}" if unit else ""
