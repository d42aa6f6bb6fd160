#!/bin/sh
# Run by PostgreSQL for each segment of its write-ahead log: archive-wal.sh PATH NAME. The status is 0 once the
# compressed copy is on disk. A segment that was archived already is compared, never replaced.
set -eu
copy="${WAL_ARCHIVE:-/archive}/$2.gz"
if [ -f "$copy" ]; then
    gzip -dc "$copy" | cmp -s - "$1"
    exit
fi
gzip -1 < "$1" > "$copy.part"
sync "$copy.part"
mv "$copy.part" "$copy"
sync "${copy%/*}"
