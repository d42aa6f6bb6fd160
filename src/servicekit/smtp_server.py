"""The address of an SMTP server."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

SMTP_EXAMPLE = "for example smtp://user:password@host:587?starttls=1"

_STARTTLS = {"auto": None, "1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """`tls` is TLS from the first byte. `starttls` None: used if the server offers it; True: required."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    starttls: bool | None = None


def smtp_server(url: str) -> SmtpServer:
    """`smtp://user:password@host:port?starttls=1` or `smtps://` (TLS from the first byte).

    Ports default to 465 for smtps, 587 with `starttls=1`, else 25. Raises ValueError, without `url` in its message.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("cannot be read") from None
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or port == 0:
        raise ValueError("begins with smtp:// or smtps:// and a host")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    asked = query.pop("starttls", "auto").lower()
    if query or asked not in _STARTTLS or parts.path.strip("/"):
        raise ValueError("after the host and port only ?starttls=1 or ?starttls=0 is understood")
    tls, starttls = parts.scheme == "smtps", _STARTTLS[asked]
    if tls and starttls:
        raise ValueError("smtps:// is encrypted from the start, leave ?starttls=1 out")
    return SmtpServer(
        host=parts.hostname,
        port=port or (465 if tls else 587 if starttls else 25),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=tls,
        starttls=False if tls else starttls,
    )
