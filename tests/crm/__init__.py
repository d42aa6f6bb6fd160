"""The CRM service on its own, with real PostgreSQL, SMTP and HTTP."""
