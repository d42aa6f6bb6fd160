# ruff: noqa: S608 (composed of constants)
"""Erasure of personal data in the tables of bookings."""

from infrastructure.postgres.erasure.statements import USER

ERASE = (
    f"UPDATE bookings SET notes = NULL WHERE user_id = {USER} AND notes IS NOT NULL",
    # One address for each row: an event has at most one pending invitation to an address.
    """UPDATE invitations SET name = CAST(:name AS text), email = 'deleted-' || id || '@deleted.invalid'
        WHERE email = ANY (CAST(:addresses AS text[]))""",
)
