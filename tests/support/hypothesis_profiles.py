"""Profiles of hypothesis: examples have no time limit, because a busy machine is no fault of the code.

In a usual run a test has the same examples every time, so it fails only if the code has changed. `LONG_RUN=1` looks at
more of them, at random: a counter-example that it finds is kept in the test as an `@example`.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", settings.get_profile("any speed"), max_examples=100)
settings.register_profile("same", settings.get_profile("any speed"), max_examples=15, derandomize=True)
settings.register_profile("few", settings.get_profile("same"), max_examples=10)
settings.register_profile("branches", settings.get_profile("same"), max_examples=5)
settings.load_profile("random" if os.environ.get("LONG_RUN") else "same")

if not os.environ.get("LONG_RUN"):
    # It also draws constants of the modules that are loaded, which differ from process to process: the examples would,
    # too. Reading all modules for them takes 10 s of CPU in each process of a fresh checkout.
    providers._get_local_constants = lambda: providers._local_constants
