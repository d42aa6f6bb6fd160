"""Profiles of hypothesis: examples have no time limit, because a busy machine is no fault of the code.

In a usual run a test has the same examples every time, so it fails only if the code has changed. `LONG_RUN=1` looks at
more of them, at random: a counter-example that it finds is kept in the test as an `@example`.
"""

import os
import sys

from hypothesis import HealthCheck, settings
from hypothesis.internal import charmap
from hypothesis.internal.conjecture import providers
from hypothesis.internal.intervalsets import IntervalSet

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", settings.get_profile("any speed"), max_examples=100)
settings.register_profile("same", settings.get_profile("any speed"), max_examples=10, derandomize=True)
settings.register_profile("few", settings.get_profile("same"), max_examples=8)
settings.register_profile("branches", settings.get_profile("same"), max_examples=5)
settings.load_profile("random" if os.environ.get("LONG_RUN") else "same")

if not os.environ.get("LONG_RUN"):
    # It also draws constants of the modules that are loaded, which differ from process to process: the examples would,
    # too. Reading all modules for them takes 10 s of CPU in each process of a fresh checkout.
    providers._get_local_constants = lambda: providers._local_constants

_find_intervals = charmap.intervals_from_codec


def _intervals(codec: str) -> tuple[IntervalSet, IntervalSet]:
    """Hypothesis encodes every code point to find those of UTF-8, which takes 3 s in each process of a fresh checkout:
    they are all but the surrogates, and all of them are decoded to themselves."""
    if codec != "utf-8":
        return _find_intervals(codec)
    return IntervalSet(((0, 0xD7FF), (0xE000, sys.maxunicode))), IntervalSet(())


charmap.intervals_from_codec = _intervals  # type: ignore[assignment]
