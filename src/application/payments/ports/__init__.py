"""Ports of payments: gateways, payment records, data for reconciliation."""
