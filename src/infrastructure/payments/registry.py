"""The gateways of this house: the one that new payments are made at, and all that old ones were."""

from collections.abc import Sequence

from application.ports.payments import PaymentGateway
from domain.payments import GatewayUnavailable


class GatewayRegistry:
    def __init__(self, gateways: Sequence[PaymentGateway], *, chosen: str) -> None:
        self._named = {gateway.name: gateway for gateway in gateways}
        self.chosen = self._named[chosen]

    def named(self, name: str) -> PaymentGateway:
        try:
            return self._named[name]
        except KeyError:
            raise GatewayUnavailable(f"The payment gateway {name} is not configured") from None
