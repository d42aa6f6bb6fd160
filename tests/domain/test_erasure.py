"""What identifies a person in texts, and how long an erasure waits."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from domain.accounts import UserId
from domain.erasure import (
    LONGEST_WAIT,
    Erasure,
    ErasureInProgress,
    Identifiers,
    erased_email,
    is_erased_email,
)

NOW = datetime(2031, 3, 5, 12, tzinfo=UTC)
ADA = Identifiers(names=["Ada Lovelace", "+49 30 1"], addresses=["ada@example.com"])


@pytest.mark.parametrize(
    "text", ["ADA LOVELACE!", "x\\nada lovelace", "call +49 30 1.", "<Ada@example.com>", '{"name": "Ada Lovelace"}']
)
def test_person_is_found_as_whole_words_without_regard_to_case(text: str) -> None:
    assert ADA.occur_in(text)


@pytest.mark.parametrize("text", ["Ada", "Zada Lovelaces", "lada@example.com", '{"Ada Lovelace": 1}', ""])
def test_other_text_is_left(text: str) -> None:
    assert not ADA.occur_in(text)


def test_short_name_is_found_as_a_name_only() -> None:
    short = Identifiers(names=["Al", ""], addresses=[])
    assert short.occur_in('{"name": "Al"}')
    assert not short.occur_in("Al goes")
    assert not Identifiers(names=[], addresses=[]).occur_in("anything")


def test_erasure_waits_a_day_from_its_first_attempt() -> None:
    erasure = Erasure(UserId(1), NOW, NOW + timedelta(days=3))
    assert not erasure.may_wait(NOW)
    begun = Erasure(UserId(1), NOW, NOW, begun_at=NOW)
    assert begun.may_wait(NOW)
    assert not begun.may_wait(NOW + LONGEST_WAIT)
    erasure.require_withdrawable(NOW)
    with pytest.raises(ErasureInProgress):
        erasure.require_withdrawable(NOW + timedelta(days=3))


def test_erased_address_is_recognised() -> None:
    assert is_erased_email(erased_email(uuid4()))
    assert not is_erased_email("ada@example.com")
