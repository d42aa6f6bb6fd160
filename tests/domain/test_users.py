import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.accounts import (
    SELF_ASSIGNABLE_ROLES,
    PasswordPolicy,
    Role,
    acceptable_password,
    check_mailable,
    normalised_password,
)
from domain.errors import Invalid

CONTRACT, STRICT = PasswordPolicy.CONTRACT, PasswordPolicy.STRICT


def test_nobody_makes_themselves_an_admin() -> None:
    assert {Role.USER, Role.FACILITATOR} == SELF_ASSIGNABLE_ROLES


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=140))
def test_a_password_is_kept_as_it_will_be_compared_or_refused(password: str) -> None:
    try:
        kept = acceptable_password(password, CONTRACT)
    except Invalid as refused:
        assert refused.details.keys() == {"password"}
    else:
        assert kept == normalised_password(password) == normalised_password(kept)
        assert 8 <= len(kept) <= 128


@pytest.mark.parametrize("length", [8, 128])
def test_eight_to_128_characters_are_enough_for_the_published_contracts(length: int) -> None:
    assert acceptable_password("p" * length, CONTRACT) == "p" * length


@pytest.mark.parametrize("length", [0, 7, 129, 10_000, 1_000_000])
def test_fewer_or_more_are_refused(length: int) -> None:
    with pytest.raises(Invalid):
        acceptable_password("p" * length, CONTRACT)


@pytest.mark.parametrize(
    "password",
    [
        "password123",
        "correct-horse-",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabcabc",
        "passwordpassword",
        "Password12345678",
        "qwertyuiop123456",
        "0987654321098765",
        "zyxwvutsrqponmlk",
        "iloveyouiloveyou1",
        "ada lovelace 1815",
        "ada@example.com!!",
        "conveneconvene2026",
    ],
)
def test_the_strict_policy_refuses_what_is_tried_first(password: str) -> None:
    with pytest.raises(Invalid):
        acceptable_password(password, STRICT, context=("Ada Lovelace", "ada@example.com"))


@pytest.mark.parametrize(
    "password", ["violin-harbour-ostrich", "Tr0ub4dor&3-and-more", "un éléphant ça trompe", "x9$Kq2!vLm7@Zt4w"]
)
def test_the_strict_policy_takes_what_is_not(password: str) -> None:
    assert acceptable_password(password, STRICT, context=("Ada Lovelace", "ada@example.com")) == password


MARKS = "a" + "\u0301" * 15_800 + "\u0316" * 15_800


def test_a_password_that_is_too_long_is_not_normalised() -> None:
    began = time.process_time()
    with pytest.raises(Invalid):
        acceptable_password(MARKS, CONTRACT)
    assert len(normalised_password(MARKS)) > 128
    assert time.process_time() - began < 0.1  # 1.6 s and more when it is


def test_letters_before_the_at_sign_need_smtputf8() -> None:
    with pytest.raises(Invalid):
        check_mailable("jörg@example.com", smtputf8=False)
    check_mailable("jörg@example.com", smtputf8=True)
    check_mailable("jorg@faß.de", smtputf8=False)
