"""Contract C: Google login for clients that got an ID token on their own.

The documented body alone proves nothing, so `id_token` is required as proof of its fields.
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
    """`google_id` and `email` as they stand in the token."""

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
    """For clients that sign in with Google themselves: the ID token must confirm `google_id` and `email`."""
    logged_in = await sign_in_with_id_token(
        id_token=data.id_token,
        subject=data.google_id,
        email=account_address(data.email),
        name=data.name,
        address=address,
    )
    return entrance(logged_in)


ROUTES = [sign_in_with_token]
