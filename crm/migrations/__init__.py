"""The CRM's schema. Revisions are written by hand."""

from pathlib import Path

from crm.database import VERSION_TABLE
from servicekit.migrations import Migrations

MIGRATIONS = Migrations(versions=Path(__file__).parent / "versions", version_table=VERSION_TABLE, lock=0x63726D)

upgrade, downgrade, head = MIGRATIONS.upgrade, MIGRATIONS.downgrade, MIGRATIONS.head
