"""Languages of the pages."""

LANGUAGES = ("en", "de")
"""ISO 639 codes. Texts in the code are English; every other language has a catalogue, see `docs/pages.md`."""
