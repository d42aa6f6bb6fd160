"""The facilitators' CRM: a service of its own, which shares HTTP with the booking backend and no code."""
