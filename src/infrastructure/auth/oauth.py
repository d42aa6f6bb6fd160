"""An OAuth 2.0 client: discovery, PKCE, the authorization request and the exchange of its code.

It is independent of the provider and of the purpose of the sign-in.
"""

import asyncio
import base64
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
import structlog

from infrastructure.retries import request_follows

_log = structlog.get_logger()

T = TypeVar("T")

MOST_OF_AN_ANSWER = 256 * 1024
"""Bytes. Google's longest response, its keys, has about 2 KiB."""
WELL_KNOWN = "/.well-known/openid-configuration"


class ProviderUnavailable(Exception):
    """No response in time, an unsuccessful one, or one that violates the protocol."""


class AnswerTooLong(ProviderUnavailable):
    """A response with more bytes than any valid one of this provider."""


class NotTheProtocol(ProviderUnavailable):
    """A response that violates the protocol."""


class CodeRefused(Exception):
    """The provider rejects this code: it is wrong, used, expired or of another client."""


class Metadata(msgspec.Struct, frozen=True):
    """The used fields of OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class Grant(msgspec.Struct, frozen=True):
    access_token: str
    id_token: str | None = None
    refresh_token: str | None = None
    expires_in: int | None = None
    scope: str | None = None

    def __repr__(self) -> str:
        return "Grant(***)"


class _Refusal(msgspec.Struct, frozen=True):
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]


class ProviderConnection:
    """HTTP requests to one provider, without redirects and compression, and with limited responses.

    `seconds` bounds each request, from the connection to the end of the response; `most` is the maximum of its bytes.
    """

    def __init__(self, *, seconds: float = 5, most: int = MOST_OF_AN_ANSWER) -> None:
        import httpx  # 0.1 s of CPU, for the deployments that have providers

        self._seconds = seconds
        self._most = most
        self._failures = (httpx.HTTPError, httpx.InvalidURL)
        self._client = httpx.AsyncClient(
            # A small compressed response may expand to gigabytes.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Convene"},
            timeout=seconds,
            follow_redirects=False,
            # Proxies and .netrc files of the machine must not receive secrets.
            trust_env=False,
            verify=httpx.create_ssl_context(),
            limits=httpx.Limits(max_connections=20, keepalive_expiry=3),
            event_hooks={"request": [request_follows]},
        )

    async def get(self, url: str, kind: type[T]) -> T:
        """Raises `ProviderUnavailable`."""
        answer = await self.ask("GET", url)
        if answer.status != 200:
            raise ProviderUnavailable(f"GET {url} answered {answer.status}")
        return decoded(answer.body, kind, url)

    async def post_form(self, url: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """Raises `ProviderUnavailable` without a complete response, and for the statuses 5xx and 429."""
        answer = await self.ask("POST", url, form=form)
        if answer.status >= 500 or answer.status == 429:
            raise ProviderUnavailable(f"POST {url} answered {answer.status}")
        return answer.status, answer.body

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        json: object | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Returns the response with any status. Raises `ProviderUnavailable`, and `AnswerTooLong` for a response that
        exceeds the limit."""
        body = b""
        content = {"data": form} if json is None else {"json": json}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(method, url, headers=headers, **content) as response,
            ):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > self._most:
                        raise AnswerTooLong(f"{method} {url} answered more than {self._most} bytes")
        except TimeoutError:
            raise ProviderUnavailable(f"{method} {url}: no complete answer within {self._seconds:g} s") from None
        except self._failures as error:
            raise ProviderUnavailable(f"{method} {url}: {type(error).__name__}: {error}") from None
        return Answer(response.status_code, body, response.headers)


class Remembered(Generic[T]):
    """Caches the result of a fetch for `seconds`. Concurrent callers share one fetch and its result."""

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], *, seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._now = now
        self._value: T | None = None
        self._fetched_at = 0.0
        self._renewed_at: float | None = None
        self._under_way: asyncio.Task[T] | None = None

    async def get(self) -> T:
        if self._value is not None and self._now() - self._fetched_at < self._seconds:
            return self._value
        return await self._fetched()

    async def renewed(self, *, at_most_every: float) -> T:
        """Fetches again, unless the last fetch was less than `at_most_every` seconds ago."""
        if self._under_way is None:
            if self._renewed_at is not None and self._now() - self._renewed_at < at_most_every:
                return await self.get()
            self._renewed_at = self._now()
        return await self._fetched()

    async def _fetched(self) -> T:
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._renew())
            self._under_way.add_done_callback(self._finished)
        # A cancelled caller does not cancel the fetch for the others.
        return await asyncio.shield(self._under_way)

    async def _renew(self) -> T:
        self._value = await self._fetch()
        self._fetched_at = self._now()
        return self._value

    def _finished(self, task: asyncio.Task[T]) -> None:
        self._under_way = None
        if not task.cancelled():
            task.exception()  # retrieved even without a waiting caller, so that asyncio does not log it


class AuthorizationServer:
    """The authorization server of one provider, for the client `client_id` with the address `redirect_uri`."""

    METADATA_SECONDS = 24 * 3600

    def __init__(
        self,
        connection: ProviderConnection,
        discovery_url: str,
        *,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
    ) -> None:
        self._connection = connection
        self._discovery_url = discovery_url
        self.client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._metadata = Remembered(self._discover, seconds=self.METADATA_SECONDS)

    async def metadata(self) -> Metadata:
        """Raises `ProviderUnavailable`."""
        return await self._metadata.get()

    async def authorization_url(self, *, scope: str, state: str, verifier: str, **more: str) -> str:
        """Raises `ProviderUnavailable`."""
        endpoint = (await self.metadata()).authorization_endpoint
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": scope,
            "state": state,
            "code_challenge": s256(verifier),
            "code_challenge_method": "S256",
            **more,
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    async def exchange(self, code: str, *, verifier: str) -> Grant:
        """Raises `CodeRefused`, `ProviderUnavailable`."""
        endpoint = (await self.metadata()).token_endpoint
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
            "client_id": self.client_id,
            "client_secret": self._client_secret,
        }
        status, body = await self._connection.post_form(endpoint, form)
        if status == 200:
            return decoded(body, Grant, endpoint)
        error = decoded(body, _Refusal, endpoint).error
        if error == "invalid_grant":
            raise CodeRefused
        # RFC 6749, 5.2: all other errors concern this client, not the person who signs in.
        _log.error("oauth.client_refused", endpoint=endpoint, status=status, error=error[:80])
        raise ProviderUnavailable(f"POST {endpoint} answered {status} {error[:80]}")

    async def _discover(self) -> Metadata:
        metadata = await self._connection.get(self._discovery_url, Metadata)
        # OpenID Connect Discovery 1.0, 4.3.
        if metadata.issuer.rstrip("/") != self._discovery_url.removesuffix(WELL_KNOWN):
            raise ProviderUnavailable(f"{self._discovery_url} speaks for another issuer: {metadata.issuer[:200]}")
        for url in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
            if not _is_safe(url, like=self._discovery_url):
                raise ProviderUnavailable(f"{self._discovery_url} names an endpoint that cannot be used: {url[:200]}")
        return metadata


def s256(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _is_safe(url: str, *, like: str) -> bool:
    """Whether the address is https, or http if the provider's own address is http."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    schemes = {"https"} if like.startswith("https:") else {"https", "http"}
    return (
        parts.scheme in schemes and bool(parts.hostname) and not parts.fragment and url.isascii() and url.isprintable()
    )


def decoded(body: bytes, kind: type[T], url: str) -> T:
    """Raises `NotTheProtocol`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotTheProtocol(f"{url} answered something that is not what the protocol asks for") from None
