"""Calendars that people have connected."""
