# ruff: noqa: S608 (composed of constants)
"""Erasure of personal data in the tables of calendars."""

from infrastructure.postgres.erasure.statements import USER

ERASE = (
    f"DELETE FROM calendar_connections WHERE user_id = {USER}",
    f"DELETE FROM calendar_feeds WHERE user_id = {USER}",
)
