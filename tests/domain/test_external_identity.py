"""What an account takes over from an identity provider."""

from dataclasses import replace

import pytest

from domain.external_identity import (
    EmailNotVerified,
    ExternalIdentity,
    OtherExternalAccount,
    display_name,
    linked,
    proves_ownership,
    signed_in_again,
)
from tests.domain.builders import a_user

ADA = ExternalIdentity("google", "subject-1", "user1@example.com", email_verified=True, name="Ada", picture=None)
PICTURE = "https://pictures.example/ada"


@pytest.mark.parametrize(
    ("claimed", "shown"),
    [
        (("Ada Lovelace", "other"), "Ada Lovelace"),
        ((None, " ", "ada"), "ada"),
        (("a\x00b\r\nc\u2028d\ud800",), "a b c d"),
        (("x" * 500,), "x" * 120),
        (("\n",), "Google user"),
        ((None, None), "Google user"),
        ((), "Google user"),
    ],
)
def test_name_from_a_provider_fits_on_one_line(claimed: tuple[str | None, ...], shown: str) -> None:
    assert display_name(*claimed) == shown


def test_address_is_proven_once_by_the_identity_that_has_it() -> None:
    user = a_user(1)
    assert proves_ownership(user, ADA)
    assert not proves_ownership(replace(user, is_verified=True), ADA)
    assert not proves_ownership(user, replace(ADA, email_verified=False))
    assert not proves_ownership(user, replace(ADA, email="other@example.com"))


def test_linked_account_is_verified_and_takes_the_picture() -> None:
    user = linked(a_user(1), replace(ADA, picture=PICTURE))
    assert (user.external_id, user.profile_picture, user.is_verified) == ("subject-1", PICTURE, True)
    assert linked(replace(user, external_id=None), ADA).profile_picture == PICTURE


def test_unproven_identity_and_account_of_another_identity_are_not_linked() -> None:
    with pytest.raises(EmailNotVerified):
        linked(a_user(1), replace(ADA, email_verified=False))
    proven = replace(a_user(1), is_verified=True)
    assert linked(proven, ADA).external_id == "subject-1"
    with pytest.raises(OtherExternalAccount):
        linked(replace(proven, external_id="subject-2"), ADA)
    assert linked(replace(a_user(1), external_id="subject-2"), ADA).external_id == "subject-1"


def test_later_login_keeps_address_and_picture() -> None:
    user = replace(a_user(1), profile_picture=PICTURE)
    again = signed_in_again(user, replace(ADA, email="new@example.com"))
    assert (again.email, again.profile_picture, again.is_verified) == (user.email, PICTURE, False)
    assert signed_in_again(user, ADA).is_verified
    assert signed_in_again(replace(user, is_verified=True), replace(ADA, email_verified=False)).is_verified
    newer = f"{PICTURE}/2"
    assert signed_in_again(user, replace(ADA, picture=newer)).profile_picture == newer
