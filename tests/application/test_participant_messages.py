"""Rules of a facilitator's messages to the participants of an event."""

import pytest

from application.events.participant_messages import MESSAGES_PER_EVENT, MESSAGES_PER_SENDER
from domain.accounts import Role
from domain.errors import Invalid, TooManyRequests
from domain.events import Event, EventForbidden
from domain.outbox import Destination, MessageType
from domain.participant_messages import NoParticipants
from tests.application.booking_application import DAY, BookingApplication, inr


async def write(app: BookingApplication, event: Event) -> int:
    return await app.write_to_participants(app.facilitator(event), event.id, subject="Hello", text="Bring a mat")


async def test_each_confirmed_participant_gets_a_mail_of_their_own(app: BookingApplication) -> None:
    event = await app.event()
    paid = [await app.paid(event) for _ in range(2)]
    await app.book(event)
    assert await write(app, event) == 2
    sent = app.messages(MessageType.PARTICIPANT_MESSAGE)
    assert [(each.ordering_key, each.destination) for each in sent] == [
        (f"booking:{booking_id}", Destination.EMAIL) for booking_id in paid
    ]
    assert {(each.payload["written"].subject, each.payload["written"].text) for each in sent} == {
        ("Hello", "Bring a mat")
    }


async def test_event_that_has_ended_still_has_its_participants(app: BookingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    app.clock.moment = event.details.interval.ends_at
    await app.complete_bookings()
    assert await write(app, event) == 1


async def test_cancelled_event_has_no_participants(app: BookingApplication) -> None:
    event = await app.event(price=inr(0))
    await app.book(event)
    await app.cancel_event(app.facilitator(event), event.id)
    with pytest.raises(NoParticipants):
        await write(app, event)
    assert app.limits.counted(MESSAGES_PER_EVENT, str(event.id)) == 0
    assert app.limits.counted(MESSAGES_PER_SENDER, str(event.facilitator_id)) == 0


async def test_event_has_five_messages_a_day(app: BookingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    for _ in range(5):
        await write(app, event)
    with pytest.raises(TooManyRequests):
        await write(app, event)
    assert app.limits.counted(MESSAGES_PER_SENDER, str(event.facilitator_id)) == 5
    app.clock.advance(DAY)
    await write(app, event)


async def test_sender_has_fifty_messages_a_day(app: BookingApplication) -> None:
    facilitator = await app.person(Role.FACILITATOR)
    events = [await app.event(facilitator, price=inr(0)) for _ in range(11)]
    for event in events:
        await app.book(event)
    for event in events[:10]:
        for _ in range(5):
            await write(app, event)
    with pytest.raises(TooManyRequests):
        await write(app, events[10])


async def test_only_the_facilitator_and_admins_write_to_participants(app: BookingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    for user in (await app.person(Role.FACILITATOR), await app.person()):
        with pytest.raises(EventForbidden):
            await app.write_to_participants(user, event.id, subject="Hello", text="Text")
    assert await app.write_to_participants(await app.person(Role.ADMIN), event.id, subject="Hello", text="Text") == 1


@pytest.mark.parametrize(
    ("subject", "text"), [("", "Text"), ("Hello", " "), ("x" * 201, "Text"), ("Hello", "x" * 5001)]
)
async def test_subject_and_text_are_checked(app: BookingApplication, subject: str, text: str) -> None:
    event = await app.event()
    await app.paid(event)
    with pytest.raises(Invalid):
        await app.write_to_participants(app.facilitator(event), event.id, subject=subject, text=text)


async def test_repeated_message_is_sent_once(app: BookingApplication) -> None:
    event = await app.event()
    await app.paid(event)
    assert await app.repeated(lambda: write(app, event)) == (1, 1)


@pytest.mark.parametrize(
    ("subject", "text", "field"),
    [
        ("", "Bring a mat", "subject"),
        ("a\nb", "Bring a mat", "subject"),
        ("s" * 201, "Bring a mat", "subject"),
        ("Hello", "", "text"),
        ("Hello", "\u200b", "text"),
        ("Hello", "a\x1b", "text"),
        ("Hello", "t" * 5_001, "text"),
    ],
)
async def test_text_that_cannot_be_sent_is_rejected_naming_its_field(
    app: BookingApplication, subject: str, text: str, field: str
) -> None:
    event = await app.event()
    await app.paid(event)
    with pytest.raises(Invalid) as rejected:
        await app.write_to_participants(app.facilitator(event), event.id, subject=subject, text=text)
    assert rejected.value.details.keys() == {field}
    assert app.messages(MessageType.PARTICIPANT_MESSAGE) == []
