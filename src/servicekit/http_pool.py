"""A pool of HTTP connections to one server, by aiohttp. Imported with the first request of a process."""

import ssl
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp

from servicekit.http_sender import NoAnswer

KEEPALIVE_SECONDS = 3
"""uvicorn closes idle connections after 5 s; younger ones are not closed during a request."""
MOST_CONNECTIONS = 100


class PoolAnswer(NamedTuple):
    """A response with the beginning of its body."""

    status: int
    reason: str
    headers: Mapping[str, str]
    beginning: bytes


class HttpPool:
    """Posts to one address, with `headers` in each request. It follows no redirect, uses no proxy and no .netrc file,
    keeps no cookie, and decompresses nothing. Has no time limit of its own: a cancelled request closes its connection.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=True if url.startswith("http://") else _tls_context(),
                limit=MOST_CONNECTIONS,
                keepalive_timeout=KEEPALIVE_SECONDS,
            ),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # Proxies and .netrc files of the machine must not receive the token.
            trust_env=False,
        )

    async def post(self, body: bytes, headers: Mapping[str, str], most: int) -> PoolAnswer:
        """Reads `most` bytes of the response. Raises `NoAnswer`."""
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                beginning = await _first_bytes(response, most)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: an invalid host name
            if isinstance(error, TimeoutError):
                raise
            raise _no_answer(error) from error
        # Any bytes may be in the reason phrase (RFC 9110, 15.1); aiohttp has invalid UTF-8 as surrogates.
        reason = (response.reason or "").encode(errors="replace").decode()
        return PoolAnswer(response.status, reason, response.headers, beginning)

    async def close(self) -> None:
        await self._session.close()


async def _first_bytes(response: aiohttp.ClientResponse, most: int) -> bytes:
    read = b""
    while chunk := await response.content.readany():
        read += chunk
        if len(read) >= most:
            response.close()  # the rest is not read
            break
    return read[:most]


def _no_answer(error: Exception) -> NoAnswer:
    return NoAnswer(f"{type(error).__name__}: {error}")


def _tls_context() -> ssl.SSLContext:
    """The certificates of the package certifi, or those of SSL_CERT_FILE or SSL_CERT_DIR."""
    import httpx

    return httpx.create_ssl_context()
