"""What may be asked for a place or for a coach's time."""

from application.ports.payments import PaymentGateway
from domain.money import Money


def refuse_unpayable(price: Money, gateway: PaymentGateway) -> None:
    """Raises `Invalid` for a price that nobody could pay: better when it is named than to whoever books."""
    if not price.is_zero:
        gateway.refuse_price(price)
