"""Limits on writes by the settings."""

from application.ports import RateLimiter
from application.write_limits import Write, WriteLimits
from infrastructure.settings import Settings


def build_write_limits(settings: Settings, limiter: RateLimiter) -> WriteLimits:
    return WriteLimits(
        limiter,
        {write: getattr(settings, f"write_limit_{write}") for write in Write},
        per_recipient=settings.write_limit_recipient,
        networks=settings.write_limit_networks,
    )
