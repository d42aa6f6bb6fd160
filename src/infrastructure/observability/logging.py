"""The backend's configuration of `servicekit.logging`."""

from servicekit import logging

_STRIPE_KEYS = ("sk_live_", "sk_test_")
_CHATTY = ("httpx", "httpcore", "stripe", "arq", "uvicorn.access")


def configure_logging(level: str) -> None:
    """Configures the logs of this process."""
    logging.configure_logging(level, secret_prefixes=_STRIPE_KEYS, quiet=_CHATTY)
