"""Reminders in PostgreSQL."""
