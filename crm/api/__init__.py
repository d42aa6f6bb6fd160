"""The CRM over HTTP."""
