"""The schema that this version of the CRM needs."""

from pathlib import Path

from crm.database import VERSION_TABLE
from servicekit.schema_version import SchemaVersion

SCHEMA_VERSION = SchemaVersion(
    Path(__file__).parent / "migrations" / "versions",
    VERSION_TABLE,
    migrate="`convene migrate` or `python -m crm migrate`",
)
