"""`Idempotency-Key` on any POST: the same key and the same request get the same answer (docs/decisions/0004).

`KeyedRequests` wraps the framework and sends an answer only after it is stored. `answer_from_key` runs inside the
framework after the guards, when the caller is authenticated and authorised.
"""

import re
from contextvars import ContextVar
from typing import Any

from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from application.accounts.sessions import Actor
from application.idempotency import CLAIM, AnswerOnce, Claim, IdempotencyKeyInvalid, KeptAnswer, KeyedRequest, owner_of
from domain.networks import network_of
from interfaces.http.authentication import CREATES, ISSUES_TOKENS, ClientAddress, TrustedProxies, client_address
from interfaces.http.errors import DECIDED

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"

_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_BOUNDARY = re.compile(rb';\s*boundary="?([^";,]+)"?', re.IGNORECASE)
_KEPT_HEADERS = {b"content-type", b"location"}
"""The stored headers of an answer. All others are created for each response."""


class _Run:
    """The state of one request with a key while the framework handles it."""

    def __init__(self, answer_once: AnswerOnce) -> None:
        self.answer_once = answer_once
        self.claim: Claim | None = None
        self.issues_tokens = False
        self.is_anonymous = False
        self._held_back: list[Message] = []

    async def send(self, message: Message) -> None:
        self._held_back.append(message)

    async def forward(self, send: Send) -> None:
        for message in self._held_back:
            await send(message)

    def answer(self) -> KeptAnswer:
        start: Any = self._held_back[0]
        kept = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in start["headers"]
            if name.lower() in _KEPT_HEADERS
        )
        body = b"".join(message["body"] for message in self._held_back if message["type"] == "http.response.body")
        return KeptAnswer(start["status"], kept, body)


_RUN: ContextVar[_Run | None] = ContextVar("keyed_request", default=None)


class KeyedRequests:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, answer_once: AnswerOnce) -> None:
        self._app = app
        self._answer_once = answer_once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "POST" or not _has_key(scope):
            await self._app(scope, receive, send)
            return
        run = _Run(self._answer_once)
        running = _RUN.set(run)
        try:
            await self._app(scope, receive, run.send)
            if run.claim is not None:
                answer = run.answer()
                if answer.status >= 400:
                    is_kept = scope["state"].get(DECIDED, False) and not run.is_anonymous
                else:
                    is_kept = not run.issues_tokens
                await self._answer_once.end(run.claim, answer if is_kept else None)
        finally:
            _RUN.reset(running)
            CLAIM.set(None)
        await run.forward(send)


async def answer_from_key(request: Request[Any, Any, Any], trusted_proxies: TrustedProxies) -> Response[bytes] | None:
    """Litestar's `before_request` hook: the stored answer, or None if there is none.

    Raises `IdempotencyKeyInvalid`, `IdempotencyKeyReused`, `IdempotencyKeyInUse`, `IdempotencyAnswerLost`, and without
    an account `TooManyRequests`.
    """
    run = _RUN.get()
    if run is None:
        return None
    keys = request.headers.getall(HEADER)
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise IdempotencyKeyInvalid
    does = request.route_handler.opt
    run.issues_tokens = bool(does.get(ISSUES_TOKENS))
    if run.issues_tokens and not does.get(CREATES):
        return None
    run.is_anonymous = not request.route_handler.resolve_guards()
    address = client_address(request, trusted_proxies)
    if run.is_anonymous:
        await run.answer_once.allow_anonymous(network_of(address))
    found = await run.answer_once.begin(await _keyed(request, keys[0], address, run.answer_once))
    if isinstance(found, KeptAnswer):
        return Response(found.body, status_code=found.status, headers={**dict(found.headers), REPLAYED: "true"})
    run.claim = found
    CLAIM.set(found)
    return None


async def _keyed(
    request: Request[Any, Any, Any], key: str, address: ClientAddress, answer_once: AnswerOnce
) -> KeyedRequest:
    scope = request.scope
    content_type, body = request.headers.get("content-type", "").encode("latin-1"), await request.body()
    boundary = _BOUNDARY.search(content_type)
    if boundary is not None:  # random in every encoding of the same form
        content_type, body = content_type[: boundary.start()], body.replace(b"--" + boundary[1], b"--")
    asked = answer_once.fingerprint(
        scope["method"].encode(),
        (scope["path"].rstrip("/") or "/").encode(),
        scope["query_string"],
        content_type,
        body,
    )
    return KeyedRequest(_owner(request, address, answer_once), key, asked)


def _owner(request: Request[Any, Any, Any], address: ClientAddress, answer_once: AnswerOnce) -> str:
    """The account; on public routes the hash of the credential, or of the network address without a credential."""
    actor = request.scope.get("user")
    if isinstance(actor, Actor):
        return owner_of(actor.user.id)
    known_by = request.headers.get("authorization") or address
    return f"other:{answer_once.fingerprint(known_by.encode()).hex()}"


def _has_key(scope: Any) -> bool:
    return any(name == b"idempotency-key" for name, _ in scope["headers"])
