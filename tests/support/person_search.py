"""A search for what identifies a person, in everything that an installation stores."""

import base64
import json
import re
from collections.abc import AsyncIterator, Collection, Iterable
from email.header import Header
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import asyncpg
from redis.asyncio import Redis


def forms_of(text: str) -> set[bytes]:
    """The text as it may be written: in JSON, in an address, in base64 at each offset, in the header of a mail."""
    written = {text, text.lower(), text.upper()}
    encoded = {quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1], re.escape(text)}
    encoded |= {
        Header(text, charset).encode(maxlinelen=0) for charset in ("utf-8", "iso-8859-1") if _fits(text, charset)
    }
    return {form.encode().lower() for form in written | encoded} | _in_base64(text)


def _fits(text: str, charset: str) -> bool:
    return text.encode(charset, "replace").decode(charset) == text


def _in_base64(text: str) -> set[bytes]:
    """What does not depend on the bytes around it."""
    octets = text.encode()
    found = set()
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + octets)
        found.add(encoded[(0, 2, 3)[offset] : len(encoded) // 4 * 4 - 4].lower())
    return found


class PersonSearch:
    def __init__(self, *texts: str) -> None:
        self._forms = {text: forms_of(text) for text in texts}

    def found_in(self, octets: bytes) -> set[str]:
        """The texts that are in there, in one form or another. Without regard to case."""
        lower = octets.lower()
        return {text for text, forms in self._forms.items() if any(form in lower for form in forms)}

    async def in_database(self, connection: asyncpg.Connection) -> dict[str, set[str]]:
        """By `table.column`."""
        found: dict[str, set[str]] = {}
        for table, columns in (await _columns(connection)).items():
            chosen = ", ".join(f'"{name}"' if kind == "bytea" else f'"{name}"::text' for name, kind in columns)
            for row in await connection.fetch(f'SELECT {chosen} FROM "{table}"'):
                for (column, _), value in zip(columns, row.values(), strict=True):
                    if value is not None:
                        octets = value if isinstance(value, bytes) else value.encode()
                        _note(found, f"{table}.{column}", self.found_in(octets))
        return found

    def in_files(self, directory: Path) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for path in directory.rglob("*"):
            if path.is_file():
                _note(found, path.name, self.found_in(path.name.encode() + b"\n" + path.read_bytes()))
        return found

    async def in_redis(self, redis: Redis) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        async for key in redis.scan_iter():
            async for value in _values(redis, key):
                _note(found, repr(key), self.found_in(key + b"\n" + value))
        return found


def _note(found: dict[str, set[str]], where: str, texts: Collection[str]) -> None:
    if texts:
        found.setdefault(where, set()).update(texts)


async def _columns(connection: asyncpg.Connection) -> dict[str, list[tuple[str, str]]]:
    rows = await connection.fetch(
        """SELECT c.relname, a.attname, format_type(a.atttypid, NULL) AS kind
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"""
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        found.setdefault(row["relname"], []).append((row["attname"], row["kind"]))
    return found


async def _values(redis: Any, key: bytes) -> AsyncIterator[bytes]:
    reads: dict[bytes, Any] = {
        b"string": lambda: redis.get(key),
        b"hash": lambda: redis.hgetall(key),
        b"list": lambda: redis.lrange(key, 0, -1),
        b"set": lambda: redis.smembers(key),
        b"zset": lambda: redis.zrange(key, 0, -1),
        b"stream": lambda: redis.xrange(key),
    }
    kind = await redis.type(key)
    if kind in reads:
        yield b"\n".join(_flat(await reads[kind]()))


def _flat(value: Any) -> Iterable[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _flat(pair)
    elif value is not None:
        for each in value:
            yield from _flat(each)
