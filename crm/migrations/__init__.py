"""The CRM's schema. Revisions are written by hand."""

from pathlib import Path

from servicekit.migrations import Migrations

MIGRATIONS = Migrations(versions=Path(__file__).parent / "versions", version_table="crm_schema_version", lock=0x63726D)

upgrade, downgrade, head = MIGRATIONS.upgrade, MIGRATIONS.downgrade, MIGRATIONS.head
