"""The address at which a client views or cancels a booking in the front end."""

from dataclasses import dataclass
from urllib.parse import quote

PLACEHOLDER = "{reference}"


@dataclass(frozen=True, slots=True)
class BookingUrls:
    """`template` is an absolute web address with `PLACEHOLDER` after its host."""

    template: str

    def of(self, reference: str) -> str:
        """`reference` is `BK2026000012` for a seat in an event, a UUID for an appointment."""
        return self.template.replace(PLACEHOLDER, quote(reference, safe=""))
