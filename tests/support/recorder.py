"""Records what an API answers, and makes it the same in every run."""

import base64
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

DAY = datetime(2026, 1, 12, tzinfo=UTC)
"""The day of the examples."""
NOW = DAY.replace(hour=8, minute=30)
A_WHILE = timedelta(hours=1)

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"ey[\w-]+\.[\w-]+\.[\w-]+")
_FEED = re.compile(r"[\w-]{43}(?=\.ics)")
_A_FEED = "3kT0yZ1QmXv8sRr5uJwEoLdPbC7hNaGfI2xU9eKqVtM"
_API_KEY = re.compile(r"cvk_\w+")
_AN_API_KEY = "cvk_3kT0yZ1QmXv8sRr5uJwEoLdPbC7hNaGfI2xU9eKqVtM0000000"
"""Its checksum is wrong, so programs that search for secrets do not report it."""
_REFUND = re.compile(r"rfnd_[0-9a-f]{32}")
_REFERENCE = re.compile(r"BK\d{4}")
_CALENDAR_TOKEN = re.compile(r"(ya29|EwBwA8l6)\.(?:access|refresh)-\d+-canary")
_MEET = re.compile(r"https://meet\.google\.com/[0-9a-f-]+")
_GOOGLE = {
    "client_id": "1234567890.apps.googleusercontent.com",
    "state": "pRkz1vJm3Q8sXw5tYb7nCd",
    "nonce": "Uo4hGf2kLz9mVx6rTq1wEs",
    "code_challenge": "dBjftJeZ4CVPmB92K27uhbUJU1p1rwW1gFWFOEjXk9A",
    "code": "4/0AVGzR1CqXo2",
}
_APP_CODE = re.compile(r"\d{6}")
_RECOVERY_CODE = re.compile(r"(?:[0-9a-z]{4}-){5}[0-9a-z]{4}")
_CREDENTIAL_ID = re.compile(r"[\w-]{43}|[\w-]{22}")
"""Of a passkey, or of its user."""
_APP_SECRET = "ZXLQ3BN5DKWM7RHT2VFA6YPJ4CGE5SUO"
_FACTORS = {
    "ticket": "kQ3xV8nTz0LrBwYd5sJc7gHmP2uEfAi9R4yVtXqM1oW",
    "secret": _APP_SECRET,
    "challenge": "Qm5v0yE3xT8sKdWz1LrJc7gHnP2uUfAi9R4oVtXqM6w",
    "rawId": "c2YxTn4vRk8wQb0dLm5pJgHs1yUoD7iA9R3tWqXkE6o",
    "clientDataJSON": "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoi4oCmIn0",
    "attestationObject": "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YVik",
    "otpauth_uri": f"otpauth://totp/Convene:ada%40example.com?secret={_APP_SECRET}&issuer=Convene",
}


@dataclass
class Neat:
    """Makes what was recorded the same in every run."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    uuids: dict[str, str] = field(default_factory=dict)
    recovery_codes: dict[str, str] = field(default_factory=dict)

    @property
    def today(self) -> datetime:
        return self.started.replace(hour=0, minute=0, second=0, microsecond=0)

    def value(self, given: Any, name: str = "") -> Any:
        if isinstance(given, dict):
            return {key: self.value(item, key) for key, item in given.items()}
        if isinstance(given, list):
            return [self.value(item, name) for item in given]
        return self._text(given, name) if isinstance(given, str) else given

    def location(self, url: str) -> str:
        query = {key: _GOOGLE.get(key, value) for key, value in parse_qsl(urlsplit(url).query)}
        google = "https://accounts.google.com/o/oauth2/v2/auth"
        microsoft = "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"
        return f"{microsoft if '/oauth2/v2.0/' in url else google}?{urlencode(query)}"

    def _text(self, text: str, name: str) -> str:
        if _UUID.fullmatch(text):
            return self.uuids.setdefault(text, f"019bb1c6-5a00-7000-8000-{len(self.uuids) + 1:012}")
        if _RECOVERY_CODE.fullmatch(text):
            return self.recovery_codes.setdefault(text, f"7k3m-9x2q-v8hd-4rta-p6wz-e1{len(self.recovery_codes):02}")
        if name == "code" and _APP_CODE.fullmatch(text):
            return "492039"
        if name == "id" and _CREDENTIAL_ID.fullmatch(text):
            return _FACTORS["rawId"] if len(text) == 43 else "AZuxxloAcACAAAAAAAAAAQ"
        if name in _FACTORS:
            return _FACTORS[name]
        if name in _GOOGLE:
            return _GOOGLE[name]
        if name == "uid":
            return f"{text.partition('@')[0]}@d3b07384-d9a0-4c9b-8f54-1a2b3c4d5e6f"
        if name == "auth_url":
            return self.location(text)
        if name == "request_id":
            return "4c1f0a9be2d84c7a9c3d5f60718293a4"
        if name == "event_id":
            return "8b5cf0b7c7d35d0c9a2d3f6e1b4a7c90"
        if name == "expires_at":
            hours = round((datetime.fromisoformat(text) - self.started) / timedelta(hours=1))
            return f"{NOW + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"
        if name == "week":
            return (DAY + timedelta(weeks=1)).date().isoformat()
        if name == "next_cursor":
            return base64.urlsafe_b64encode(self._instants(base64.urlsafe_b64decode(text).decode()).encode()).decode()
        if _INSTANT.fullmatch(text):
            return self._instants(text)
        if _TOKEN.fullmatch(text):
            return f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{name}.signature"
        text = _FEED.sub(_A_FEED, text)
        text = _API_KEY.sub(lambda match: _AN_API_KEY[: len(match[0])], text)
        text = _CALENDAR_TOKEN.sub(rf"\1.{name}", text)
        text = _MEET.sub("https://meet.google.com/abc-defg-hij", text)
        text = _REFUND.sub("rfnd_00000000000001", text)
        return _REFERENCE.sub(f"BK{DAY.year}", text)

    def _instants(self, text: str) -> str:
        def neat(match: re.Match[str]) -> str:
            return self._instant(datetime.fromisoformat(match[0])).strftime("%Y-%m-%dT%H:%M:%SZ")

        return _INSTANT.sub(neat, text)

    def _instant(self, moment: datetime) -> datetime:
        return NOW if abs(moment - self.started) < A_WHILE else DAY + (moment - self.today)


@dataclass
class Recorder:
    """Calls operations by their ids, keeps the first answer of each status and the body that led to it."""

    client: httpx.AsyncClient
    routes: dict[str, tuple[str, str]]
    neat: Neat = field(default_factory=Neat)
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def __call__(self, operation: str, token: str | None = None, body: Any = None, **parameters: Any) -> Any:
        """`parameters` are those of the path and of the query. Answers with the body, or where a redirect leads."""
        method, path = self.routes[operation]
        query = {name: value for name, value in parameters.items() if f"{{{name}}}" not in path}
        response = await self.send(
            operation,
            method,
            path.format(**parameters),
            params=query,
            json=body,
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        self._keep(operation, body, parameters, response)
        assert response.status_code < 400 or operation == "getHealth", f"{operation}: {response.text}"
        return _body(response) if response.status_code != 302 else response.headers["location"]

    async def signed(self, operation: str, body: bytes, headers: dict[str, str]) -> None:
        """A gateway's webhook: the signature is over the bytes."""
        method, path = self.routes[operation]
        response = await self.send(operation, method, path, content=body, headers=headers)
        self._keep(operation, None, {}, response)
        assert response.status_code < 400, f"{operation}: {response.text}"

    async def follows(self, operation: str, token: str) -> None:
        """A stream, which has no end."""
        method, path = self.routes[operation]
        headers = {"Authorization": f"Bearer {token}"}
        async with self.client.stream(method, path, headers=headers) as response:
            self._keep(operation, None, {}, response)

    async def uploads(self, operation: str, token: str, file: tuple[str, bytes, str], booking_id: str) -> Any:
        method, path = self.routes[operation]
        response = await self.send(
            operation,
            method,
            path.format(booking_id=booking_id),
            files={"file": file},
            headers={"Authorization": f"Bearer {token}"},
        )
        self._keep(operation, None, {"booking_id": booking_id}, response)
        assert response.status_code < 400, f"{operation}: {response.text}"
        return response.json()

    async def send(self, operation: str, method: str, path: str, **request: Any) -> httpx.Response:
        return await self.client.request(method, path, **request)

    def _keep(self, operation: str, body: Any, parameters: dict[str, Any], response: httpx.Response) -> None:
        example = self.examples.setdefault(operation, {"answers": {}})
        if parameters and "parameters" not in example:
            example["parameters"] = self.neat.value(parameters)
        if body is not None:
            example.setdefault("bodies", {}).setdefault(str(response.status_code), self.neat.value(body))
        if response.status_code == 204:
            return
        redirected = response.status_code == 302
        answer = (
            {"location": self.neat.location(response.headers["location"])}
            if redirected
            else {"body": self.neat.value(_body(response))}
        )
        example["answers"].setdefault(str(response.status_code), answer)


def _body(response: httpx.Response) -> Any:
    """None for what is not JSON."""
    return response.json() if response.headers.get("content-type", "").startswith("application/json") else None


def as_text(examples: dict[str, Any]) -> str:
    """As the file holds it."""
    return json.dumps(examples, indent=2, ensure_ascii=False) + "\n"
