"""Copy of mails about changes of an event: changes of name, time, place and link, with the previous values."""

from zoneinfo import ZoneInfo

from infrastructure.delivery.payloads import DetailsPayload, EventPayload
from infrastructure.email.content import EmailCopy
from servicekit.local_times import when

_STAYS = "Your booking stays valid. These are the details now."
# For older messages, which do not name the changes.
_UNNAMED = EmailCopy("Changed: {title}", "The details have changed", f"The details of {{title}} have changed. {_STAYS}")


def change_copy(before: DetailsPayload | None, event: EventPayload) -> EmailCopy:
    names = [] if before is None else _changes(before, event)
    if not names:
        return _UNNAMED
    have = "has" if len(names) == 1 else "have"
    headline = f"The {_and(names)} {have} changed"
    sentence = f"The {_and(names, 'the ')} of {{title}} {have} changed. {_STAYS}"
    return EmailCopy(f"New {_and(names)}: {{title}}", headline, sentence)


def location_of(event: EventPayload | DetailsPayload) -> str | None:
    return event.location or ("Online" if event.virtual_link else None)


def previous_details(before: DetailsPayload | None, event: EventPayload, zone: ZoneInfo) -> dict[str, str | None]:
    """The previous values of changed details. An old link is omitted, because it must not be used any more."""
    if before is None:
        return {}
    changed = _changes(before, event)
    return {
        "Previous name": before.title if "name" in changed else None,
        "Previous time": when(before.starts_at, before.ends_at, zone) if "time" in changed else None,
        "Previous place": location_of(before) if "place" in changed else None,
    }


def _changes(before: DetailsPayload, event: EventPayload) -> list[str]:
    differ = {
        "name": before.title != event.title,
        "time": (before.starts_at, before.ends_at) != (event.starts_at, event.ends_at),
        "place": before.location != event.location,
        "link": before.virtual_link != event.virtual_link,
    }
    return [name for name, differs in differ.items() if differs]


def _and(names: list[str], article: str = "") -> str:
    """`time`, `time and place`, `name, time and place`."""
    *first, last = (f"{article if number else ''}{name}" for number, name in enumerate(names))
    return f"{', '.join(first)} and {last}" if first else last
