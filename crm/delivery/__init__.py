"""Delivery of stored messages: a queue with leases, retries, senders."""
