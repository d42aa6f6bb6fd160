"""E-mails to facilitators: content and transport."""
