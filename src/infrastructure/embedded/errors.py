"""What can go wrong with a server or a child, as a sentence for the person at the terminal."""


class Unusable(Exception):
    """A server cannot be used. The text is one line: what is wrong and what to do; it shows no password."""


class EmbeddedError(Unusable):
    """A server or child of ours cannot be started."""
