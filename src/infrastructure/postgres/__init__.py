"""Adapters on PostgreSQL, one module or package for each context."""
