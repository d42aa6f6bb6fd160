"""The backend's schema. Revisions are written by hand."""

from infrastructure.postgres.schema_version import SCHEMA_VERSION
from servicekit.migrations import Migrations

MIGRATIONS = Migrations(version=SCHEMA_VERSION, lock=0x_C0_17_E4_E0)

upgrade, downgrade = MIGRATIONS.upgrade, MIGRATIONS.downgrade
