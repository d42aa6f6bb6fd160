"""The configured gateways: the one for new payments, and those of earlier payments."""

from collections.abc import Sequence
from typing import TypeVar

from application.payments.ports.gateways import PaymentGateway
from domain.payments import GatewayUnavailable

T = TypeVar("T")


class GatewayRegistry:
    def __init__(self, gateways: Sequence[PaymentGateway], *, chosen: str) -> None:
        self._named = {gateway.name: gateway for gateway in gateways}
        self.chosen = self._named[chosen]

    def __contains__(self, name: str) -> bool:
        return name in self._named

    def find(self, kind: type[T]) -> T | None:
        """The gateway of this type; None if it is not configured."""
        return next((gateway for gateway in self._named.values() if isinstance(gateway, kind)), None)

    async def close(self) -> None:
        """Closes the connections of all gateways."""
        for gateway in self._named.values():
            close = getattr(gateway, "close", None)
            if close is not None:
                await close()

    def named(self, name: str) -> PaymentGateway:
        try:
            return self._named[name]
        except KeyError:
            raise GatewayUnavailable(f"The payment gateway {name} is not configured") from None
