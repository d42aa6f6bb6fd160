"""Technical code that both services use: the booking backend (`src/`) and the CRM (`crm/`). Imports neither."""
