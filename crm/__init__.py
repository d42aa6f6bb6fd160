"""The facilitators' CRM: a separate service. It receives messages of the booking backend over HTTP."""
