"""Notes which account writes and which reads, so that its lists contain what it wrote."""

import base64
import binascii
import hashlib
from typing import Protocol

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from domain.api_keys import is_well_formed

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_UNAUTHENTICATED = 401
_LONGEST = 4096


class Writers(Protocol):
    def reads(self, account: str | None) -> None: ...
    async def wrote(self, account: str) -> None: ...


class _Claims(msgspec.Struct):
    sub: str


class ReadYourWrites:
    """ASGI middleware. It marks an account before the answer to its write is sent.

    The account is the one that the access token names, whether or not the token is valid: it decides only which server
    reads a list. An API key counts as an account of its own. Requests that are refused as unauthenticated mark nothing.
    Pages have their access token in the cookie of this name.
    """

    def __init__(self, app: ASGIApp, writers: Writers, cookie: str) -> None:
        self._app = app
        self._writers = writers
        self._cookie = cookie.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        account = account_of(headers.get(b"authorization") or self._in_cookie(headers.get(b"cookie", b"")))
        self._writers.reads(account)
        if account is None or scope["method"] in _READS:
            await self._app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != _UNAUTHENTICATED:
                await self._writers.wrote(account)
            await send(message)

        await self._app(scope, receive, marked)

    def _in_cookie(self, cookies: bytes) -> bytes:
        """As the header of the API would be; empty without this cookie."""
        pairs = (each.strip().partition(b"=") for each in cookies.split(b";"))
        return next((b"Bearer " + value for name, _, value in pairs if name == self._cookie), b"")


def account_of(authorization: bytes) -> str | None:
    """The number of the account that the token of this header names, or a hash of an API key; None without one."""
    _, _, token = authorization[:_LONGEST].partition(b" ")
    if is_well_formed(token.decode("latin-1")):
        return hashlib.sha256(token).hexdigest()
    parts = authorization[:_LONGEST].split(b".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + b"=="), type=_Claims)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return None
    return claims.sub if claims.sub.isascii() and claims.sub.isdecimal() and len(claims.sub) < 20 else None
