"""What is kept of accounts beside themselves."""

from datetime import datetime

from advanced_alchemy.base import DefaultBase
from sqlalchemy import ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from infrastructure.database.tables.columns import INSTANT


class LoginNetworkRow(DefaultBase):
    """A network from which a user has logged in. `network` is a keyed hash of the user and the network."""

    __tablename__ = "login_networks"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    network: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    last_login_at: Mapped[datetime] = mapped_column(INSTANT, index=True)
