"""Backups: copies of both databases, of mail files and of the secrets, in a directory; docs/operations/backup.md.

A table is a compressed file of PostgreSQL's text COPY. The schema is not copied: the migrations make it, at the
revision of the manifest. So a backup needs no client programs and fits other versions of PostgreSQL.
"""

from infrastructure.backup.errors import BackupError

__all__ = ["BackupError"]
