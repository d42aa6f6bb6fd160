"""Adapters on Redis: wake-ups, live updates between processes, rate limits."""
