"""What can go wrong with a backup."""

from infrastructure.embedded.errors import Unusable


class BackupError(Unusable):
    """A backup cannot be made, read or restored. The text is one line: what is wrong and what to do."""
