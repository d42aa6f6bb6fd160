"""Contract C: Google login for clients that have received an ID token from Google.

The documented fields alone prove nothing, so `id_token` is required as proof of them.
"""

from typing import Annotated

from litestar import post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from application.accounts.external_identity import SignInWithIdToken
from interfaces.emails import account_address
from interfaces.http.authentication import ClientAddress, issues_tokens
from interfaces.http.injection import Inject
from interfaces.http.sessions_api.accounts import TAGS, Entrance, entrance


class GoogleCredentials(Struct):
    """`google_id` and `email` must equal those of the token."""

    google_id: Annotated[str, Meta(min_length=1, max_length=255)]
    email: str
    name: Annotated[str, Meta(min_length=1, max_length=1_000)]
    id_token: Annotated[str, Meta(min_length=1)]


@post("/api/auth/google", operation_id="signInWithGoogleOfC", tags=TAGS, status_code=200, opt=issues_tokens)
async def sign_in_with_token(
    data: JSONBody[GoogleCredentials],
    address: Inject[ClientAddress],
    sign_in_with_id_token: Inject[SignInWithIdToken],
) -> Entrance:
    """Logs in with an ID token that the client has received from Google. The token must contain `google_id` and
    `email`."""
    logged_in = await sign_in_with_id_token(
        id_token=data.id_token,
        subject=data.google_id,
        email=account_address(data.email),
        name=data.name,
        address=address,
    )
    return entrance(logged_in)


ROUTES = [sign_in_with_token]
