"""Senders of outbox messages, one module for each kind of destination."""
