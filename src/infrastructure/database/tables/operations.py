"""What the operator's metrics are made of, and what names the deployment elsewhere."""

from advanced_alchemy.base import DefaultBase
from sqlalchemy import BigInteger, Boolean, CheckConstraint, Text, text
from sqlalchemy.orm import Mapped, mapped_column


class DeliveryCountRow(DefaultBase):
    """How often deliveries came to what. Only grows, so that it is a counter to Prometheus."""

    __tablename__ = "delivery_counts"

    destination: Mapped[str] = mapped_column(Text, primary_key=True)
    what: Mapped[str] = mapped_column(Text, primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (CheckConstraint("what IN ('delivered', 'failed', 'dead', 'rescued')", name="what"),)


class CalendarIdentityRow(DefaultBase):
    """What comes after the `@` in the UIDs of calendar entries."""

    __tablename__ = "calendar_identity"

    only_row: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    uid_domain: Mapped[str] = mapped_column(Text)

    __table_args__ = (CheckConstraint("only_row", name="only_row"),)
