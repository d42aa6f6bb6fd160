"""Notifications: reminders, payment links, live updates."""
