"""Erasure of a user's personal data, which the booking system requests with the message `user_erased`."""
