"""The outbox: delivery of messages, dead letters."""
