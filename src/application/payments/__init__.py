"""Payments: checkout, webhooks, settlement, refunds, hold expiry, reconciliation."""
