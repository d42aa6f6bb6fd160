"""Composition of the sign-in with Google."""

from typing import TYPE_CHECKING

from application.ports import Clock
from infrastructure.auth.oauth import AuthorizationServer, ProviderConnection
from infrastructure.settings import Settings

if TYPE_CHECKING:
    from infrastructure.auth.google_oidc import GoogleOidc


def build_google(settings: Settings, clock: Clock) -> "GoogleOidc | None":
    if settings.google_client_id is None or settings.google_client_secret is None:
        return None
    from infrastructure.auth.google_oidc import GoogleOidc

    connection = ProviderConnection()
    server = AuthorizationServer(
        connection,
        settings.google_discovery_url,
        client_id=settings.google_client_id,
        client_secret=settings.google_client_secret,
        redirect_uri=f"{settings.public_url}/auth/google/callback",
    )
    return GoogleOidc(server, connection, clock)
