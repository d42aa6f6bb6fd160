import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.unpaid_holds import HoldLimits, HoldsWithCoach, TooManyUnpaidHolds

LIMITS = HoldLimits(per_account=5, per_coach=2)


@pytest.mark.parametrize(
    ("in_all", "with_coach", "series", "sentence"),
    [
        (5, None, False, "You have 5 unpaid bookings. Please pay or cancel one of them before you book another"),
        (
            2,
            HoldsWithCoach(2, 0),
            False,
            "You have 2 unpaid bookings with this coach. "
            "Please pay or cancel one of them before you book another with them",
        ),
        (
            1,
            HoldsWithCoach(1, 1),
            True,
            "You have an unpaid recurring booking with this coach. "
            "Please pay or cancel its sessions before you book another series with them",
        ),
    ],
)
def test_error_message_states_what_to_do(
    in_all: int, with_coach: HoldsWithCoach | None, series: bool, sentence: str
) -> None:
    with pytest.raises(TooManyUnpaidHolds) as refused:
        LIMITS.require_another(in_all, with_coach, series=series)
    assert (refused.value.code, refused.value.message) == ("too_many_unpaid_holds", sentence)


def test_message_uses_the_singular_for_one_booking() -> None:
    with pytest.raises(TooManyUnpaidHolds, match="You have 1 unpaid booking\\. "):
        HoldLimits(per_account=1).require_another(1)


@given(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10), st.booleans())
def test_another_hold_is_allowed_only_below_every_limit(
    in_all: int, bookings: int, series_held: int, series: bool
) -> None:
    allowed = in_all < 5 and bookings < 2 and not (series and series_held)
    try:
        LIMITS.require_another(in_all, HoldsWithCoach(bookings, series_held), series=series)
    except TooManyUnpaidHolds:
        assert not allowed
    else:
        assert allowed
