"""Bookings in PostgreSQL: seats, invitations."""
