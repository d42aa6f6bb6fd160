"""The backend's schema. Revisions are written by hand."""

from pathlib import Path

from infrastructure.postgres.engine import VERSION_TABLE
from servicekit.migrations import Migrations

MIGRATIONS = Migrations(versions=Path(__file__).parent / "versions", version_table=VERSION_TABLE, lock=0x_C0_17_E4_E0)

upgrade, downgrade, is_current = MIGRATIONS.upgrade, MIGRATIONS.downgrade, MIGRATIONS.is_current
