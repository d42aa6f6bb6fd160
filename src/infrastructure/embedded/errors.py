"""What can go wrong with a server or a child of ours, as a sentence for the person at the terminal."""


class EmbeddedError(Exception):
    """A server or child cannot be started. The text is one line: what happened and what to do."""
