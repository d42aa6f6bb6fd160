"""The domain events that a unit of work writes."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar


class _DomainEvent(Protocol):
    @property
    def after(self) -> Any: ...


E_co = TypeVar("E_co", bound=_DomainEvent, covariant=True)


class _Entity(Protocol[E_co]):
    @property
    def events(self) -> Sequence[E_co]: ...


class UnrecordedChange(RuntimeError):
    """A programming error: an entity was changed without a transition, so the effects of the change are unknown."""


class WrittenEvents:
    """The events whose effects this unit of work has written, so that an entity may be saved again."""

    def __init__(self) -> None:
        self._written: set[Any] = set()

    def take(self, entity: _Entity[E_co]) -> Sequence[E_co]:
        """The entity's new events, in order. Raises `UnrecordedChange` if there are none, or if the entity differs from
        the result of the last one."""
        new = [event for event in entity.events if event not in self._written]
        if not new or new[-1].after != entity:
            raise UnrecordedChange(type(entity).__name__)
        self._written.update(new)
        return new
