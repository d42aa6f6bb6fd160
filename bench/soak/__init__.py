"""Bookings at a steady rate while faults happen, and the invariants at the end: `python -m bench soak`."""
