"""The CRM's schema. Revisions are written by hand."""

from pathlib import Path

from servicekit.migrations import Migrations

_MIGRATIONS = Migrations(versions=Path(__file__).parent / "versions", version_table="crm_schema_version", lock=0x63726D)

upgrade, downgrade, head = _MIGRATIONS.upgrade, _MIGRATIONS.downgrade, _MIGRATIONS.head
