# ruff: noqa: S608 (composed of constants)
"""Erasure of personal data in the tables of events."""

from infrastructure.postgres.erasure.statements import USER, scrubbed

_HAS_PARTICIPANTS = f"EXISTS (SELECT FROM bookings b WHERE b.event_id = events.id AND b.user_id <> {USER})"

# Participants keep what they have booked, without what identifies the facilitator.
ERASE = (
    f"""UPDATE events SET location = NULL, virtual_link = NULL,
        title = CASE WHEN {_HAS_PARTICIPANTS} THEN {scrubbed("title")} ELSE 'Deleted event' END,
        description = CASE WHEN {_HAS_PARTICIPANTS} THEN {scrubbed("description")} ELSE '' END
        WHERE facilitator_id = {USER}""",
    f"UPDATE reviews SET comment = NULL WHERE user_id = {USER} AND comment IS NOT NULL",
)
