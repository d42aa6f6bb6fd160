"""The composition root: `api` builds the parts of the API and of commands, `delivery` those of the worker.

A process imports what it builds: the parts of the other one are a fifth of its start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infrastructure.container.api import Container, UseCases, build
    from infrastructure.container.delivery import DeliveryParts, build_deliveries
    from infrastructure.container.foundation import Substitutes, served

_MODULES = {
    "Container": "api",
    "UseCases": "api",
    "build": "api",
    "DeliveryParts": "delivery",
    "build_deliveries": "delivery",
    "Substitutes": "foundation",
    "served": "foundation",
}

__all__ = ["Container", "DeliveryParts", "Substitutes", "UseCases", "build", "build_deliveries", "served"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
