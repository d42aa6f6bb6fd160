# ruff: noqa: S608 (composed of constants)
"""Erasure of personal data in the tables of appointments."""

from infrastructure.postgres.erasure.statements import USER, scrubbed, scrubbed_json

_OF_CLIENT = f"booking_id IN (SELECT id FROM coaching_bookings WHERE client_id = {USER})"
_OF_COACH = f"booking_id IN (SELECT id FROM coaching_bookings WHERE coach_id = {USER})"


def _history(column: str, removed: str) -> str:
    """SQL for a side of an entry in the history, which is not an object where there was nothing before."""
    return f"CASE jsonb_typeof({column}) WHEN 'object' THEN {column} {removed} ELSE {column} END"


_TEXTS = "- '{notes,meeting_link}'::text[] #- '{attachment,filename}'"

# A client's texts and files are deleted. Those of the clients of a coach lose what identifies the coach.
ERASE = (
    f"DELETE FROM coaching_attachments WHERE uploaded_by = {USER} OR {_OF_CLIENT}",
    f"""UPDATE coaching_changes SET before = {_history("before", _TEXTS)}, after = {_history("after", _TEXTS)}
        WHERE {_OF_CLIENT}""",
    f"""UPDATE coaching_changes SET before = {scrubbed_json(_history("before", "- 'meeting_link'"))},
        after = {scrubbed_json(_history("after", "- 'meeting_link'"))} WHERE {_OF_COACH}""",
    f"UPDATE coaching_bookings SET notes = NULL, meeting_link = NULL WHERE client_id = {USER}",
    f"UPDATE coaching_bookings SET notes = {scrubbed('notes')}, meeting_link = NULL WHERE coach_id = {USER}",
    f"UPDATE coaches SET timezone = 'UTC', weekly_hours = '{{}}', date_overrides = '{{}}' WHERE user_id = {USER}",
)
