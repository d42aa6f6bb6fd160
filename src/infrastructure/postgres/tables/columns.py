"""What many columns share."""

from sqlalchemy import BigInteger, DateTime, Identity, text
from sqlalchemy.orm import Mapped, mapped_column

INSTANT = DateTime(timezone=True)
NOW = text("now()")
NEW_UUID = text("uuidv7()")


def identity() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(always=False), primary_key=True)
