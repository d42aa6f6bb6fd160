"""The schema that this version of the booking API needs."""

from pathlib import Path

from infrastructure.postgres.engine import VERSION_TABLE
from servicekit.schema_version import SchemaVersion

SCHEMA_VERSION = SchemaVersion(Path(__file__).parent / "migrations" / "versions", VERSION_TABLE)
