"""The schema that this version of the booking API needs."""

from pathlib import Path

from servicekit.schema_version import SchemaVersion

VERSION_TABLE = "alembic_version"
"""Table with the version of the schema."""

SCHEMA_VERSION = SchemaVersion(Path(__file__).parent / "migrations" / "versions", VERSION_TABLE)
