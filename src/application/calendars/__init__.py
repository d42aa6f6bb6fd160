"""Calendars: connections to providers, synchronisation, busy times, calendar feeds (.ics)."""
