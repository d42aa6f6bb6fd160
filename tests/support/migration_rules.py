"""Rules for the SQL of a revision that runs while services read and write: what would stop them is a fault."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext


@dataclass
class Transaction:
    statements: list[str] = field(default_factory=list)
    last: bool = False
    """It also stores the new version. Those before stay when the revision is interrupted, and are run again."""


def faults_of(revision: ModuleType) -> list[str]:
    """What the rules have against the upgrade of a revision; nothing for a good one."""
    return faults(rendered(revision.upgrade), oldest_code=getattr(revision, "oldest_code", None))


def rendered(upgrade: Callable[[], None]) -> list[Transaction]:
    """The statements of an upgrade, by what is committed together."""
    transactions: list[Transaction] = []
    begun: Transaction | None = None

    class Statements:
        def write(self, text: str) -> None:
            nonlocal begun
            statement = text.strip().removesuffix(";")
            if statement in {"BEGIN", "COMMIT"}:
                begun = Transaction() if statement == "BEGIN" else None
                transactions.extend([begun] if begun else [])
            elif begun:
                begun.statements.append(statement)
            elif statement:
                transactions.append(Transaction([statement]))

        def flush(self) -> None:
            pass

    options: dict[str, Any] = {"as_sql": True, "output_buffer": Statements()}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    with Operations.context(context), context.begin_transaction():
        upgrade()
    transactions[-1].last = True
    return [each for each in transactions if each.statements]


def faults(transactions: Sequence[Transaction], *, oldest_code: str | None = None) -> list[str]:
    statements = [_bare(each) for transaction in transactions for each in transaction.statements]
    new = {match.group(1) for each in statements if (match := _CREATE_TABLE.match(each))}
    checked = " ".join(statements)
    found: list[str] = []
    for transaction in transactions:
        bare = [_bare(each) for each in transaction.statements]
        for statement in bare:
            alone = len(bare) == 1
            found += [
                f"{fault}: {statement[:80]}"
                for fault in _of_statement(statement, new, checked, alone=alone, contracts=oldest_code is not None)
            ]
            if not transaction.last and not _REPEATABLE.search(statement):
                found.append(f"cannot be run again after an interruption: {statement[:80]}")
        locked = {table for each in bare for table in _locked(each, new)}
        if len(locked) > 1 and not (len(bare) == 1 and "FOREIGN KEY" in bare[0] and bare[0].startswith("ALTER")):
            found.append(f"one transaction locks {', '.join(sorted(locked))}: use online.run for each")
    return found


_NAME = r"(?:ONLY )?(?:IF (?:NOT )?EXISTS )?([A-Z_0-9]+)"
_CREATE_TABLE = re.compile(rf"CREATE TABLE {_NAME}")
_ALTER_TABLE = re.compile(rf"ALTER TABLE {_NAME} (.*)")
_CREATE_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?.*? ON (?:ONLY )?([A-Z_0-9]+)")
_REFERENCES = re.compile(r"REFERENCES ([A-Z_0-9]+)")
_TRIGGER = re.compile(r"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER .* ON ([A-Z_0-9]+)")
_REPEATABLE = re.compile(
    r"IF NOT EXISTS|IF EXISTS|OR REPLACE|VALIDATE CONSTRAINT|ON CONFLICT|NOT EXISTS|^COMMENT|SET NOT NULL"
)
_HARMLESS = re.compile(
    r"CREATE (OR REPLACE )?FUNCTION|CREATE (TABLE|SEQUENCE|TYPE|DOMAIN) |DROP FUNCTION|COMMENT ON|CREATE .*TRIGGER "
)
_CONTRACTING = re.compile(
    r"DROP (COLUMN|TABLE|FUNCTION|VIEW)|DROP (IF EXISTS )?(?!CONSTRAINT|DEFAULT|NOT NULL)[A-Z_0-9]+$|RENAME "
)
_CONSTANT = re.compile(r"DEFAULT (?:''|-?[\d.]+|TRUE|FALSE|NULL|NOW\(\)|CURRENT_TIMESTAMP)(?:::[A-Z]+)?(?= |$)")


def _of_statement(statement: str, new: set[str], checked: str, *, alone: bool, contracts: bool) -> Iterator[str]:
    if match := _CREATE_INDEX.match(statement):
        if not match.group(1) and match.group(2) not in new:
            yield "index without CONCURRENTLY"
        if match.group(1) and not alone:
            yield "CONCURRENTLY within a transaction"
    elif match := _ALTER_TABLE.match(statement):
        for clause in _clauses(match.group(2)):
            if match.group(1) not in new:
                yield from _of_clause(clause, checked, alone=alone)
            if _CONTRACTING.match(clause) and not contracts:
                yield "the version before needs it, or the revision has no `oldest_code`"
    elif statement.startswith("DROP INDEX"):
        if "CONCURRENTLY" not in statement:
            yield "DROP INDEX without CONCURRENTLY"
    elif statement.startswith("INSERT"):
        if re.search(r"\bFROM\b", _flat(statement)):
            yield "rows are copied: leave it to the worker"
    elif _CONTRACTING.match(statement):
        if not contracts:
            yield "the version before needs it, or the revision has no `oldest_code`"
    elif re.match(r"UPDATE|DELETE|TRUNCATE|MERGE|WITH|COPY", statement):
        yield "rows are changed: leave it to the worker"
    elif not _HARMLESS.match(statement):
        yield "the rules do not know this statement"


def _of_clause(clause: str, checked: str, *, alone: bool) -> Iterator[str]:
    if re.match(r"ADD (CONSTRAINT|CHECK|FOREIGN|UNIQUE|PRIMARY|EXCLUDE)", clause):
        if not clause.endswith("NOT VALID") and "USING INDEX" not in clause:
            yield "constraint without NOT VALID"
    elif clause.startswith("ADD "):
        if re.search(r"\b(CHECK|UNIQUE|PRIMARY KEY)\b", clause):
            yield "new column with a constraint: add it NOT VALID"
        if re.search(r"\b(GENERATED|SERIAL|BIGSERIAL)\b", clause) or (
            "DEFAULT" in clause and not _CONSTANT.search(clause)
        ):
            yield "the table is rewritten"
        if "NOT NULL" in clause and "DEFAULT" not in clause:
            yield "NOT NULL without a default"
    elif match := re.match(r"ALTER (?:COLUMN )?(\S+) (.*)", clause):
        column, change = match.groups()
        if re.match(r"(SET DATA )?TYPE", change):
            yield "the table is rewritten"
        elif change == "SET NOT NULL" and not (
            f"CHECK ({column} IS NOT NULL)" in checked and "VALIDATE CONSTRAINT" in checked
        ):
            yield "NOT NULL without a validated check"
    elif clause.startswith("VALIDATE"):
        if not alone:
            yield "VALIDATE within another transaction"
    elif not re.match(r"DROP|RENAME|DISABLE TRIGGER|ENABLE TRIGGER|SET \(|RESET \(", clause):
        yield "the rules do not know this change"


def _locked(statement: str, new: set[str]) -> set[str]:
    """The tables that exist before and whose writers wait for the end of the transaction."""
    found = set(_REFERENCES.findall(statement))
    match = _TRIGGER.match(statement) or _ALTER_TABLE.match(statement)
    if match and " VALIDATE " not in statement:
        found.add(match.group(1))
    return found - new


def _bare(statement: str) -> str:
    """In capitals, without comments, the texts of literals, quotes of names and line breaks."""
    text = re.sub(r"--[^\n]*", " ", statement)
    text = re.sub(r"\$(\w*)\$.*?\$\1\$", "''", text, flags=re.DOTALL)
    text = re.sub(r"'(?:[^']|'')*'", "''", text).replace('"', "")
    return " ".join(text.split()).upper().replace("( ", "(").replace(" )", ")")


def _clauses(text: str) -> list[str]:
    """What commas separate outside of parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _flat(text: str) -> str:
    """Without what is in parentheses."""
    kept, depth = "", 0
    for character in text:
        depth -= character == ")"
        kept += character if not depth else ""
        depth += character == "("
    return kept
