"""The CRM's schema. Revisions are written by hand."""

from crm.schema_version import SCHEMA_VERSION
from servicekit.migrations import Migrations

MIGRATIONS = Migrations(version=SCHEMA_VERSION, lock=0x63726D)

upgrade, downgrade = MIGRATIONS.upgrade, MIGRATIONS.downgrade
