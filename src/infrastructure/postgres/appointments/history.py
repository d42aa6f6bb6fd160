"""Entries in the history of an appointment."""

from typing import Any

from domain.appointments import Appointment, AppointmentChange, AppointmentEvent

PRUNE_CHANGES = """
DELETE FROM coaching_changes WHERE id IN (
    SELECT c.id FROM coaching_changes c JOIN coaching_bookings b ON b.id = c.booking_id
    WHERE c.changed_at < now() - $1::interval AND b.ends_at < now() - $1::interval
    ORDER BY c.changed_at LIMIT $2
    FOR UPDATE OF c SKIP LOCKED)
"""
"""$1: time since the change and since the end of the appointment, $2: at most so many rows."""


def difference(event: AppointmentEvent) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The changed fields before and after the change for its entry in the history, or the file."""
    if event.attachment is not None:
        file = {"attachment": {"id": str(event.attachment.id), "filename": event.attachment.filename}}
        return (file, {}) if event.change is AppointmentChange.ATTACHMENT_REMOVED else ({}, file)
    after = _remembered(event.after)
    if event.before is None:
        return None, after
    before = _remembered(event.before)
    changed = sorted(name for name in after if after[name] != before[name])
    return {name: before[name] for name in changed}, {name: after[name] for name in changed}


def _remembered(appointment: Appointment) -> dict[str, Any]:
    return {
        "status": appointment.status,
        "payment_status": appointment.payment_status,
        "dispute": appointment.dispute,
        "starts_at": appointment.session.starts_at.isoformat(),
        "ends_at": appointment.session.ends_at.isoformat(),
        "notes": appointment.notes,
        "meeting_link": appointment.meeting_link,
        "cancel_reason": appointment.cancel_reason,
    }
