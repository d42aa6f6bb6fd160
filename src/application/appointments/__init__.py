"""Appointments with coaches: availability, booking, changes, recurring appointments, attachments."""
