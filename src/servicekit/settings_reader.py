"""Reader of settings from the environment and from `.env`. Each error is one line that names the setting."""

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import load_dotenv

from servicekit.mailboxes import UnusableAddress, sender_mailbox
from servicekit.pooler import Pooler
from servicekit.signatures import ADVICE, key_of
from servicekit.smtp_server import SMTP_EXAMPLE, SmtpServer, smtp_server

PUBLISHED_SECRETS = frozenset(
    {
        "your-secret-key-change-in-production",
        "super-crm-token",
        "supersecretkey",
        "jwtsecretkey",
        "your-static-bearer-token-here",
        "backend-service-token-here",
        "crmsecrettoken",
        "forwardsecrettoken",
        "your-stripe-secret",
        "your-stripe-webhook-secret",
    }
)
"""The example values of the published API documents: they are public and must not be used."""


class SettingsError(Exception):
    """A setting is missing or wrong. The message is one line that names it and what to do; it shows no secret."""


class EnvFileError(SettingsError):
    """The settings file cannot be read. The message is one line that says what to do."""


def load_env_file(path: Path) -> None:
    """Puts the file's values into the environment; a variable that is set already wins. A missing file has no values.

    Raises `EnvFileError` for a file that is not UTF-8, may not be read, or has a value that no environment can hold.
    """
    try:
        load_dotenv(path, override=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except ValueError as error:  # os.environ takes no zero bytes
        raise EnvFileError(f"{path} has a value that cannot be set ({error}): remove the zero byte") from error
    except OSError as error:
        raise EnvFileError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


class SettingsReader:
    """Reads one variable at a time, as a type. An empty variable counts as not set.

    `secrets` are settings that a file may hold: `NAME_FILE` names it. `advice` returns how to set a setting that is
    missing or weak. The published examples are refused as secrets unless CONVENE_EMBEDDED is set.
    """

    def __init__(self, environ: Mapping[str, str], secrets: frozenset[str], advice: Callable[[str], str]) -> None:
        self._environ = environ
        self._secrets = secrets
        self._advice = advice
        self.embedded = self.switch("CONVENE_EMBEDDED", "false")

    def text(self, name: str, default: str | None) -> str:
        value = self._environ.get(name, "").strip()
        file = self._environ.get(f"{name}_FILE", "").strip() if name in self._secrets else ""
        if value and file:
            raise SettingsError(f"{name} and {name}_FILE are both set: keep one of them")
        if file:
            try:
                value = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                raise SettingsError(f"{name}_FILE: {file} cannot be read ({reason})") from None
        if "\x00" in value or "\n" in value:
            raise SettingsError(f"{name} has a line break or a NUL in it: give one line of text")
        if not value and default is None:
            raise SettingsError(f"{name} is not set: {self._advice(name)}")
        return value or default or ""

    def whole(self, name: str, default: str, low: int, high: int) -> int:
        value = self.text(name, default)
        if not (value.isascii() and value.isdecimal()) or len(value) > 18 or not low <= int(value) <= high:
            raise SettingsError(f"{name} is {value!r}: give a whole number from {low} to {high}")
        return int(value)

    def days(self, name: str, default: str) -> int:
        """How long something is kept; 0 means for ever."""
        return self.whole(name, default, 0, 3650)

    def switch(self, name: str, default: str) -> bool:
        value = self.text(name, default).lower()
        if value not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
            raise SettingsError(f"{name} is {value!r}: give true or false")
        return value in {"true", "1", "yes", "on"}

    def choice(self, name: str, default: str, known: tuple[str, ...]) -> str:
        value = self.text(name, default).lower()
        if value not in known:
            raise SettingsError(f"{name} is {value!r}: give {' or '.join(known)}")
        return value

    def items(self, name: str, default: str = "") -> tuple[str, ...]:
        return tuple(item.strip() for item in self.text(name, default).split(",") if item.strip())

    def address(self, name: str, default: str | None, *, schemes: tuple[str, ...] = ("http", "https")) -> str:
        """A URL, unchanged."""
        value = self.text(name, default)
        if not value:
            return value
        try:
            parts = urlsplit(value)
            complete = parts.port != 0 and (parts.path if parts.scheme == "unix" else parts.hostname)
        except ValueError:
            complete = None
        if not complete or parts.scheme not in schemes or not value.isprintable() or " " in value:
            raise SettingsError(f"{name} is no address we can use: it begins with {' or '.join(schemes)}:// and a host")
        if parts.scheme in {"http", "https"} and "@" in parts.netloc:
            raise SettingsError(f"{name} must not hold a user or a password: requests carry a token in their head")
        return value

    def url(self, name: str, default: str | None, *, schemes: tuple[str, ...] = ("http", "https")) -> str:
        """A URL without a slash at its end, for paths to follow."""
        return self.address(name, default, schemes=schemes).rstrip("/")

    def smtp_server(self, name: str) -> SmtpServer | None:
        value = self.text(name, "")
        try:
            return smtp_server(value) if value else None
        except ValueError as error:
            raise SettingsError(f"{name}: {error}, {SMTP_EXAMPLE}") from None

    def database_url(self, name: str) -> str:
        """A PostgreSQL address in libpq's form. The forms of SQLAlchemy and Heroku are converted."""
        value = self.text(name, None)
        scheme, mark, rest = value.partition("://")
        if not mark or scheme not in {"postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"}:
            raise SettingsError(f"{name} does not name a PostgreSQL server: {self._advice(name)}")
        try:
            parts = urlsplit(f"postgresql://{rest}")
            _ = parts.port
        except ValueError:
            raise SettingsError(
                f"{name} cannot be understood (escape special characters): {self._advice(name)}"
            ) from None
        if not parts.path.strip("/"):
            raise SettingsError(f"{name} names no database: {self._advice(name)}")
        return f"postgresql://{rest}"

    def optional_database_url(self, name: str) -> str | None:
        return self.database_url(name) if self.text(name, "") else None

    def pooler(self) -> Pooler:
        """How both services reach their databases."""
        return Pooler(
            transactions=self.choice("DATABASE_POOLER", "none", ("none", "transaction")) == "transaction",
            prepared_statements=self.switch("DATABASE_PREPARED_STATEMENTS", "true"),
        )

    def direct_database_url(self, name: str, direct_name: str) -> str:
        """An address for work that needs a session: `direct_name`, else `name` unless it leads to a pooler."""
        direct = self.optional_database_url(direct_name)
        if direct is None and self.pooler().transactions:
            raise SettingsError(
                f"{direct_name} is not set, but DATABASE_POOLER is transaction: this command needs a session of its"
                " own, give the address of PostgreSQL itself"
            )
        return direct or self.database_url(name)

    def mailbox(self, name: str, default: str) -> str:
        value = self.text(name, default)
        try:
            sender_mailbox(value)
        except UnusableAddress:
            raise SettingsError(f"{name} is {value!r}: give an address like Convene <bookings@example.com>") from None
        return value

    def secret(self, name: str, *, shortest: int) -> str:
        value = self.text(name, None)
        self.refuse_weak(name, value, shortest)
        return value

    def signing_keys(self, name: str) -> tuple[bytes, ...]:
        """The keys of secrets of Standard Webhooks, separated by commas."""
        try:
            return tuple(key_of(secret) for secret in self.items(name))
        except ValueError:
            raise SettingsError(f"{name} has a secret that is not base64: {ADVICE}") from None

    def refuse_weak(self, name: str, value: str, shortest: int) -> None:
        if self.embedded:
            return
        if value in PUBLISHED_SECRETS:
            raise SettingsError(f"{name} is an example from the published documents: {self._advice(name)}")
        if len(value.encode()) < shortest:
            raise SettingsError(f"{name} is shorter than {shortest} bytes: {self._advice(name)}")
