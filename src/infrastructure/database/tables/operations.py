"""What the operator's metrics are made of."""

from advanced_alchemy.base import DefaultBase
from sqlalchemy import BigInteger, CheckConstraint, Text
from sqlalchemy.orm import Mapped, mapped_column


class DeliveryCountRow(DefaultBase):
    """How often deliveries came to what. Only grows, so that it is a counter to Prometheus."""

    __tablename__ = "delivery_counts"

    destination: Mapped[str] = mapped_column(Text, primary_key=True)
    what: Mapped[str] = mapped_column(Text, primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("what IN ('delivered', 'failed', 'dead', 'rescued')", name="what"),)
