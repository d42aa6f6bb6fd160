"""iCalendar (RFC 5545): entries of invitations and calendar feeds."""
