"""Consent to use a calendar: the authorization request, and tokens for its code (RFC 6749, with PKCE)."""

from datetime import timedelta
from urllib.parse import urlencode

import msgspec
import structlog

from application.calendars.ports import Grant
from domain.calendars import CalendarNotUnderstood, CalendarReconnect, CalendarUnavailable, ConsentRefused, Provider
from infrastructure.auth.oauth import (
    AnswerTooLong,
    NotTheProtocol,
    ProviderConnection,
    ProviderUnavailable,
    decoded,
    s256,
)
from infrastructure.calendar_providers.requests import is_one_word

_log = structlog.get_logger()

MAX_TOKEN = 16_384
LONGEST_LIFETIME = 366 * 86_400
# Error codes that require a new consent by the person. The last three are Microsoft's.
_CONSENT_IS_OVER = frozenset({"invalid_grant", "interaction_required", "consent_required", "login_required"})


class _Tokens(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str
    expires_in: int = 3600
    refresh_token: str | None = None
    scope: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: str


class ConsentServer:
    """Client of one provider's authorization server. `needed`: required scopes, which people can decline one by one on
    the consent screen."""

    def __init__(
        self,
        connection: ProviderConnection,
        provider: Provider,
        *,
        client_id: str,
        client_secret: str,
        auth_url: str,
        token_url: str,
        scope: str,
        needed: tuple[str, ...] = (),
        **asked: str,
    ) -> None:
        self._connection = connection
        self._provider = provider
        self._client_id = client_id
        self._client_secret = client_secret
        self._auth_url = auth_url
        self._token_url = token_url
        self._scope = scope
        self._needed = needed
        self._asked = asked

    def url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": self._scope,
            "state": state,
            "code_challenge": s256(verifier),
            "code_challenge_method": "S256",
            **self._asked,
        }
        return f"{self._auth_url}?{urlencode(query)}"

    async def exchange(self, code: str, *, redirect_uri: str, verifier: str) -> Grant:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        tokens = await self._ask(form | {"code_verifier": verifier}, ConsentRefused)
        allowed = (tokens.scope or self._scope).split()
        if any(scope not in allowed for scope in self._needed):
            raise ConsentRefused(
                f"{self._provider.label} was not allowed to show and change events. Please start again"
            )
        return self._grant(tokens)

    async def refresh(self, refresh_token: str) -> Grant:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._grant(await self._ask(form, CalendarReconnect))

    async def _ask(self, form: dict[str, str], consent_is_over: type[ConsentRefused | CalendarReconnect]) -> _Tokens:
        who = {"client_id": self._client_id, "client_secret": self._client_secret}
        try:
            status, body = await self._connection.post_form(self._token_url, form | who)
            if status == 200:
                return decoded(body, _Tokens, self._token_url)
            error = decoded(body, _Refusal, self._token_url).error
        except (NotTheProtocol, AnswerTooLong) as odd:
            _log.warning("calendar.tokens_not_understood", provider=self._provider, error=str(odd))
            raise CalendarNotUnderstood(
                f"{self._provider.label} answered something that cannot be understood"
            ) from None
        except ProviderUnavailable as away:
            _log.warning("calendar.tokens_away", provider=self._provider, error=str(away))
            raise CalendarUnavailable(f"{self._provider.label} cannot be reached just now") from None
        if error in _CONSENT_IS_OVER:
            raise consent_is_over
        # RFC 6749, 5.2: all other errors concern this client, not the person.
        _log.error("calendar.client_refused", provider=self._provider, status=status, error=error[:80])
        raise CalendarUnavailable(f"{self._provider.label} does not accept our client ({error[:80]})", retry_after=60)

    def _grant(self, tokens: _Tokens) -> Grant:
        given = [token for token in (tokens.access_token, tokens.refresh_token) if token is not None]
        sound = all(is_one_word(token, at_most=MAX_TOKEN) for token in given)
        if not sound or not 0 < tokens.expires_in <= LONGEST_LIFETIME or tokens.token_type.lower() != "bearer":
            raise CalendarNotUnderstood(f"{self._provider.label} gave tokens that cannot be used")
        return Grant(tokens.access_token, tokens.refresh_token, "Bearer", timedelta(seconds=tokens.expires_in))
