"""Authorisation policy: the rights of owners, organisers and admins.

- An owner acts on what belongs to the account: a booking, a payment, a list of appointments.
- An organiser manages what the account offers: its events. This needs the role of a facilitator as well.
- An admin has the rights of every owner and every organiser.

Callers choose the error, because each contract names its own.
"""

from uuid import UUID

from domain.accounts import Role, User, UserId
from domain.errors import Forbidden


def is_admin(user: User) -> bool:
    return user.role is Role.ADMIN


def is_owner(user: User, *owners: UserId | UUID) -> bool:
    """Whether the user is one of these accounts (ids or UUIDs) or an admin."""
    return is_admin(user) or user.id in owners or user.uuid in owners


def is_organiser(user: User, facilitator_id: UserId) -> bool:
    """Whether the user manages the events of this facilitator."""
    return user.can_facilitate and is_owner(user, facilitator_id)


def require_owner(user: User, *owners: UserId | UUID, error: type[Forbidden]) -> None:
    """Raises `error` unless the user is one of these accounts or an admin."""
    if not is_owner(user, *owners):
        raise error


def require_organiser(user: User, facilitator_id: UserId, *, error: type[Forbidden]) -> None:
    """Raises `error` unless the user manages the events of this facilitator."""
    if not is_organiser(user, facilitator_id):
        raise error
