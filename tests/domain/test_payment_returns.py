"""Where buyers go after a checkout, and which status they are shown."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.checkout_return import LOOKS_BEFORE_FAILED, ReturnStatus, ReturnUrls, return_status, with_parameters
from domain.errors import Invalid
from domain.payments import PaymentStatus

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATER, BEFORE = NOW + timedelta(minutes=20), NOW - timedelta(seconds=1)
OURS = {"booking_reference": "BK2026000012", "status": "pending"}


@pytest.mark.parametrize(
    ("payment_status", "is_cancelled", "hold_until", "after_success", "after_cancel"),
    [
        ("pending", False, LATER, "pending", "unpaid"),
        ("pending", False, None, "pending", "unpaid"),
        ("pending", False, NOW, "ended", "ended"),
        ("pending", True, LATER, "ended", "ended"),
        ("failed", False, LATER, "pending", "failed"),
        ("failed", False, BEFORE, "ended", "ended"),
        ("failed", True, BEFORE, "ended", "ended"),
        ("completed", False, BEFORE, "completed", "completed"),
        ("completed", True, BEFORE, "ended", "ended"),
        ("refunded", True, BEFORE, "refunded", "refunded"),
        ("refunded", False, BEFORE, "refunded", "refunded"),
    ],
)
def test_return_status_follows_the_recorded_payment(
    payment_status: str, is_cancelled: bool, hold_until: datetime | None, after_success: str, after_cancel: str
) -> None:
    """The return address never completes a payment: it only distinguishes pending from not paid."""
    statuses = [
        return_status(
            PaymentStatus(payment_status),
            is_cancelled=is_cancelled,
            hold_until=hold_until,
            now=NOW,
            has_succeeded=has_succeeded,
        )
        for has_succeeded in (True, False)
    ]
    assert statuses == [after_success, after_cancel]


def test_failed_payment_is_shown_after_several_looks() -> None:
    """A declined card, then a second one that is accepted: its webhook may be a moment later than the buyer."""

    def shown(look: int) -> ReturnStatus:
        failed = PaymentStatus.FAILED
        return return_status(failed, is_cancelled=False, hold_until=LATER, now=NOW, has_succeeded=True, look=look)

    assert shown(LOOKS_BEFORE_FAILED - 1) is ReturnStatus.PENDING
    assert shown(LOOKS_BEFORE_FAILED) is ReturnStatus.FAILED


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://app.example.com", "https://app.example.com?{ours}"),
        ("https://app.example.com/done?", "https://app.example.com/done?{ours}"),
        ("https://app.example.com/done?a=1&b=%20+x", "https://app.example.com/done?a=1&b=%20+x&{ours}"),
        ("https://app.example.com/#/paid?a=1", "https://app.example.com/?{ours}#/paid?a=1"),
        ("https://app.example.com/?a=1&a=2#top", "https://app.example.com/?a=1&a=2&{ours}#top"),
        ("https://app.example.com/?status=x&stat%75s=y&state=z", "https://app.example.com/?state=z&{ours}"),
    ],
)
def test_return_url_keeps_its_query_and_fragment(url: str, expected: str) -> None:
    """What the front end put into its address comes back to it as it was."""
    assert with_parameters(url, OURS) == expected.format(ours="booking_reference=BK2026000012&status=pending")


@given(
    st.lists(st.tuples(st.text("abc_&=#?% +é", max_size=8), st.text("abc&=#?% +é", max_size=8)), max_size=4),
    st.text("abc?&=/", max_size=8),
    st.text("BK&=#? %é", max_size=8),
)
def test_parameters_are_added_once_to_any_return_url(own: list[tuple[str, str]], fragment: str, reference: str) -> None:
    """Every address of a front end and every reference: both are read as they were written."""
    url = with_parameters("https://app.example.com/done", dict(own)) if own else "https://app.example.com/done"
    found = with_parameters(f"{url}#{fragment}", {"booking_reference": reference, "status": "pending"})
    parts = urlsplit(found)
    expected = [*dict(own).items(), ("booking_reference", reference), ("status", "pending")]
    assert parse_qsl(parts.query, keep_blank_values=True) == expected
    assert (parts.netloc, parts.path, parts.fragment) == ("app.example.com", "/done", fragment)


ALLOWED = ReturnUrls("https://app.example.com/paid#/x", frozenset({"https://shop.example/done?a=1"}))


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/done",
        "https://shop.example/done?a=1&b=2",
        "https://shop.example/done?a=1#top",
        "https://SHOP.example/done?a=1",
        "https://shop.example.evil.example/done?a=1",
        "https://app.example.com/paid",
        "javascript:alert(1)",
        "//shop.example/done?a=1",
        "",
    ],
)
def test_return_url_that_is_not_allowed_is_rejected(url: str) -> None:
    """Character by character; an address that was allowed once leads to the default one."""
    with pytest.raises(Invalid) as refused:
        ALLOWED.require_allowed(url)
    assert list(refused.value.details) == ["return_url"]
    assert ALLOWED.of(url) == ALLOWED.default
    assert ReturnUrls().of(url) is None


@pytest.mark.parametrize("url", ["https://shop.example/done?a=1", "https://app.example.com/paid#/x"])
def test_allowed_and_default_return_urls_are_accepted(url: str) -> None:
    """The operator's own address is allowed without being listed twice."""
    ALLOWED.require_allowed(url)
    assert ALLOWED.of(url) == url
    ALLOWED.require_allowed(None)
    assert ALLOWED.of(None) == ALLOWED.default
