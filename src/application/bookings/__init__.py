"""Bookings of events: reservation, cancellation, completion, invitations, queries."""
