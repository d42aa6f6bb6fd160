"""Text of others in mails and calendar entries: it turns nothing around, and no link leads where it does not say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.outbox import MessageType
from tests.mails.test_mail_composed import COMPOSER, calendar_of, composed, text_of
from tests.support.messages import a_coaching_message
from tests.support.standard_mail import received

HEBREW = "יוגה בבוקר"
ISOLATED = f"\u2068{HEBREW}\u2069"


def test_right_to_left_text_is_isolated_in_subject_sentence_and_facts() -> None:
    mail = composed(event={"title": HEBREW, "location": HEBREW}, user={"name": HEBREW}, facilitator={"name": HEBREW})
    assert mail["Subject"] == f"You are booked: {ISOLATED}"
    text, html = text_of(mail, "plain"), text_of(mail, "html")
    for line in (
        f"Hello {ISOLATED},",
        f"Your place in {ISOLATED} is confirmed",
        f"Where: {ISOLATED}",
        f"With: {ISOLATED}",
    ):
        assert line in text
    assert f"reaches {ISOLATED}." in text
    assert f"Your place in {ISOLATED} is confirmed" in html
    assert f"Hello <bdi>{HEBREW}</bdi>," in html
    assert f"<bdi>{HEBREW}</bdi></td>" in html
    _, entry = calendar_of(mail)
    assert entry["SUMMARY"] == HEBREW
    assert f"with {ISOLATED}" in str(entry["DESCRIPTION"])


def test_long_name_in_the_subject_is_isolated_as_a_whole() -> None:
    name = HEBREW * 12
    message = a_coaching_message(MessageType.BOOKING_CREATED, coach={"name": name})
    subject = str(received(COMPOSER.compose(message))["Subject"])
    assert subject == f"Requested: Coaching with \u2068{name[:105]}…\u2069"


def test_other_text_is_not_isolated() -> None:
    mail = composed(event={"title": "Zoë’s 瑜伽 🧘"}, booking={"notes": "über\nalles"})
    assert not {"\u2068", "\u2069"} & set(f"{mail['Subject']}{text_of(mail, 'plain')}{text_of(mail, 'html')}")


def test_bidirectional_overrides_in_stored_text_are_removed() -> None:
    turned = "Yo\u202ega \u2067by\u200b night"
    mail = composed(
        event={"title": turned, "location": turned, "description": turned, "virtual_link": None},
        user={"name": turned},
        facilitator={"name": turned},
        booking={"notes": f"{turned}\n{turned}"},
    )
    _, entry = calendar_of(mail)
    parts = [mail["Subject"], mail["To"], mail["Reply-To"], text_of(mail, "plain"), text_of(mail, "html")]
    parts += [entry["SUMMARY"], entry["DESCRIPTION"], entry["LOCATION"], entry["ATTENDEE"].params["CN"]]
    assert not {"\u202e", "\u2067", "\u200b"} & set("".join(map(str, parts)))
    assert mail["Subject"] == "You are booked: Yoga by night"
    assert "Yoga by night\nYoga by night" in text_of(mail, "plain").replace("\r\n", "\n")


def test_bidirectional_overrides_in_previous_values_are_removed() -> None:
    turned = "Yo\u202ega \u2067by\u200b night"
    times = {"starts_at": "2026-12-01T09:00:00Z", "ends_at": "2026-12-01T10:00:00Z"}
    before = {"title": turned, "location": turned, "virtual_link": "https://u@x.example/", **times}
    mail = composed(MessageType.BOOKING_MOVED, before=before)
    text = text_of(mail, "plain")
    assert not {"\u202e", "\u2067", "\u200b"} & set(f"{text}{text_of(mail, 'html')}")
    assert "Previous name: Yoga by night" in text
    assert "Previous place: Yoga by night" in text


PAYMENT = {"gateway": "stripe", "id": None, "received_at": None}
MONEY = {"amount": "30.00", "currency": "INR"}


def test_payment_id_from_a_gateway_is_one_visible_line() -> None:
    payment = PAYMENT | {"id": "pay\u202e_1\u200b\r\nWhere: elsewhere", "url": None}
    text = text_of(composed(MessageType.PAYMENT_COMPLETED, payment=payment, money=MONEY), "plain")
    assert "Payment: pay_1 Where: elsewhere at Stripe" in text.splitlines()


BAD_LINKS = [
    "https://",
    "https://a b/",
    "http://[::1",
    "https://accounts.google.com@evil.example/",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("link", BAD_LINKS)
def test_invalid_stored_link_is_not_linked(link: str) -> None:
    mail = composed(event={"virtual_link": link})
    _, entry = calendar_of(mail)
    assert "URL" not in entry
    for part in (text_of(mail, "plain"), text_of(mail, "html"), str(entry["DESCRIPTION"]), str(entry["LOCATION"])):
        assert link == "https://" or link not in part
        assert "Join online" not in part
    for paid in (composed(payment_url=link), composed(MessageType.PAYMENT_FAILED, payment=PAYMENT | {"url": link})):
        assert "Pay now" not in text_of(paid, "html")
        assert link == "https://" or link not in text_of(paid, "plain")


one_line = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=60)


@given(title=one_line, name=one_line)
def test_isolates_are_balanced_within_each_line(title: str, name: str) -> None:
    mail = composed(event={"title": title}, facilitator={"name": name})
    for line in [mail["Subject"], *text_of(mail, "plain").splitlines()]:
        depth = 0
        for char in line:
            depth += (char == "\u2068") - (char == "\u2069")
            assert depth >= 0
        assert depth == 0
