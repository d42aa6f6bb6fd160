"""Arithmetic of the measurements: percentiles, medians over blocks, and blocks that alternate."""

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

Figure = TypeVar("Figure")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed. Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


async def alternating(blocks: int, measures: Mapping[str, Callable[[], Awaitable[Figure]]]) -> dict[str, list[Figure]]:
    """Runs all measures once in each block, so that a slow minute of the machine slows each of them. Every second
    block runs them in the opposite order."""
    taken: dict[str, list[Figure]] = {name: [] for name in measures}
    for block in range(blocks):
        names = list(measures)
        for name in names if block % 2 == 0 else reversed(names):
            taken[name].append(await measures[name]())
    return taken


def median_of(figures: Sequence[Figure], value: Callable[[Figure], float]) -> float:
    return statistics.median(value(figure) for figure in figures)


def median_ratio(mine: Sequence[Figure], theirs: Sequence[Figure], value: Callable[[Figure], float]) -> float:
    """The median of the ratios of each block: both figures of a block saw the same machine."""
    return statistics.median(value(one) / value(other) for one, other in zip(mine, theirs, strict=True))
