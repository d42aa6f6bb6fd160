"""Calendars in PostgreSQL: connections, busy times, feeds."""
