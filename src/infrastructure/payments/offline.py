"""Payment on the spot: nothing to ask, nowhere to send anybody."""

from application.ports.payments import PaymentRequest


class OfflineGateway:
    name = "offline"

    async def checkout(self, request: PaymentRequest) -> str | None:  # noqa: ARG002
        return None
