"""Writes the golden files anew: `python -m tests.support.golden [NAME…]`."""

import asyncio
import sys
import tempfile
from pathlib import Path

from crm.migrations import upgrade as upgrade_crm
from infrastructure.postgres import migrations
from servicekit.time_zones import use_newest_time_zones
from tests.support.golden import DIRECTORY, PARTS, Databases, made, path_of
from tests.support.servers import running_postgres


def main(names: list[str]) -> None:
    if unknown := set(names) - PARTS.keys():
        sys.exit(f"no such file: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    use_newest_time_zones()
    with running_postgres("convene", "crm") as server, tempfile.TemporaryDirectory() as data:
        databases = Databases(server.dsn("convene"), server.dsn("crm"), Path(data))
        migrations.upgrade(databases.booking_api)
        upgrade_crm(databases.crm)
        DIRECTORY.mkdir(exist_ok=True)
        for name in names or PARTS:
            path_of(name).write_text(asyncio.run(made(name, databases)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
