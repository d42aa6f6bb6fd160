"""Messages of a facilitator to all participants of an event."""

from dataclasses import dataclass

from domain.errors import Conflict, Invalid
from domain.text import line, text_with_lines
from servicekit.text import has_visible

MAX_SUBJECT = 200
MAX_TEXT = 5_000


class NoParticipants(Conflict):
    code = "no_participants"
    message = "The event has no confirmed participants"


@dataclass(frozen=True, slots=True)
class ParticipantMessage:
    """A message to all participants of an event; each receives a mail of their own."""

    subject: str
    text: str

    @classmethod
    def entered(cls, subject: str, text: str) -> "ParticipantMessage":
        """Raises `Invalid` naming the field."""
        subject = line("subject", subject, at_most=MAX_SUBJECT)
        text = text_with_lines("text", text, at_most=MAX_TEXT)
        if not has_visible(text):
            raise Invalid({"text": "Must not be empty"})
        return cls(subject, text.strip())
