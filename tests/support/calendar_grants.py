"""The token endpoint of a calendar's provider: codes, access tokens that end, refresh tokens that are taken back."""

import itertools
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from infrastructure.auth.oauth import s256
from tests.support.calendar_faults import Faults, as_json

CLIENT_ID, CLIENT_SECRET = "convene-tests", "the secret of the tests' calendar client"
BACK = "https://app.example.com/calendar/done"
"""On the tests' allow-list."""
_numbers = itertools.count(1)


@dataclass
class Grants:
    """`rotates`: a refresh token works once, its successor comes with the access token, as Microsoft does."""

    rotates: bool
    scope: str
    prefix: str
    client: tuple[str, str] = (CLIENT_ID, CLIENT_SECRET)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: set[str] = field(default_factory=set)
    refresh: set[str] = field(default_factory=set)
    refreshed: int = 0
    faults: Faults = field(default_factory=Faults)

    def consent(self, auth_url: str) -> tuple[str, str]:
        """The person says yes: the code and the state that come back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(auth_url).query, strict_parsing=True).items()}
        assert asked["client_id"] == self.client[0]
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = f"{self.prefix}-code-{next(_numbers)}"
        self.codes[code] = asked
        return code, asked["state"]

    def hand_out(self) -> dict[str, Any]:
        access, refresh = (f"{self.prefix}.{kind}-{next(_numbers)}-canary" for kind in ("access", "refresh"))
        self.access.add(access)
        self.refresh.add(refresh)
        return {
            "access_token": access,
            "expires_in": 3599,
            "refresh_token": refresh,
            "scope": self.scope,
            "token_type": "Bearer",
        }

    def end_access(self) -> None:
        """Every access token that was handed out stops working."""
        self.access.clear()

    def revoke(self) -> None:
        """The person takes their consent back."""
        self.access.clear()
        self.refresh.clear()

    def token(self, form: dict[str, str]) -> bytes:
        if (form["client_id"], form["client_secret"]) != self.client:
            return as_json({"error": "invalid_client", "error_description": "The OAuth client was not found."}, 401)
        if form["grant_type"] == "refresh_token":
            return self._refresh(form["refresh_token"])
        asked = self.codes.pop(form["code"], None)
        sound = (
            asked is not None
            and form["grant_type"] == "authorization_code"
            and form["redirect_uri"] == asked["redirect_uri"]
            and s256(form["code_verifier"]) == asked["code_challenge"]
        )
        return as_json(self.hand_out()) if sound else self._invalid_grant()

    def _refresh(self, token: str) -> bytes:
        self.refreshed += 1
        if token not in self.refresh:
            return self._invalid_grant()
        given = self.hand_out()
        if self.rotates:
            self.refresh.discard(token)
        else:
            self.refresh.discard(given.pop("refresh_token"))
        return as_json(given)

    def _invalid_grant(self) -> bytes:
        return as_json({"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, 400)
