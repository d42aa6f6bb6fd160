"""Profiles of hypothesis: examples have no time limit, because a busy machine is no fault of the code."""

from hypothesis import HealthCheck, settings

settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", settings.get_profile("any speed"), max_examples=10)
settings.load_profile("any speed")
