"""The audit log: origin of the entries, chain of hashes, queries."""
