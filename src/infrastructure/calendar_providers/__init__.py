"""Clients of the calendars that accounts connect: Google Calendar and Outlook."""
