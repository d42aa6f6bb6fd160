"""The sample facilitator and sessions of contract C, which `convene up` loads on its first run."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from application.unit_of_work import UnitOfWork
from domain.accounts import Role, User, UserId
from domain.events import EventDetails, EventType
from domain.money import Money
from domain.time import Interval
from infrastructure.sample_login import FACILITATOR_EMAIL, FACILITATOR_PASSWORD
from infrastructure.settings import Settings, SettingsError


async def load(settings: Settings) -> str:
    """Adds missing sample data and returns a message about it. Raises `SettingsError` outside of the embedded mode,
    because its password is public."""
    if not settings.convene_embedded:
        raise SettingsError("The sample data has a published password: it is loaded by `convene up` only")
    from infrastructure import container
    from infrastructure.auth.passwords import Argon2Passwords

    parts = container.build(settings)
    try:
        password_hash = await Argon2Passwords().hash(FACILITATOR_PASSWORD)
        async with parts.open_work() as work:
            if await work.users.find_credentials(FACILITATOR_EMAIL):
                return "The sample data is there already"
            now = parts.use_cases.clock.now()
            facilitator = await work.users.add(
                email=FACILITATOR_EMAIL, name="John Doe", role=Role.FACILITATOR, password_hash=password_hash, now=now
            )
            await work.users.save(replace(facilitator, is_verified=True))
            await work.profiles.add(facilitator.id, bio=None, specialization="Mindfulness & Wellness")
            await _add_sessions(work, facilitator, now)
            await work.commit()
        return f"Sample data loaded: {FACILITATOR_EMAIL} offers Morning Meditation and Weekend Retreat"
    finally:
        await parts.close()


async def _add_sessions(work: UnitOfWork, facilitator: User, now: datetime) -> None:
    tomorrow = now.replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)
    await _offer(
        work,
        facilitator.id,
        EventDetails(
            title="Morning Meditation",
            description="Start your day with peaceful meditation",
            interval=Interval(tomorrow, tomorrow + timedelta(hours=1)),
            capacity=10,
            price=Money(Decimal(25), "USD"),
            category="Mindfulness",
            location="Studio A",
        ),
        now,
    )
    friday = tomorrow + timedelta(days=14 + (4 - tomorrow.weekday()) % 7)
    await _offer(
        work,
        facilitator.id,
        EventDetails(
            title="Weekend Retreat",
            description="Two days of quiet in the hills",
            event_type=EventType.RETREAT,
            interval=Interval(friday, friday + timedelta(days=2)),
            capacity=5,
            price=Money(Decimal(200), "USD"),
            category="Wellness",
            location="Hill House",
        ),
        now,
    )


async def _offer(work: UnitOfWork, facilitator_id: UserId, details: EventDetails, now: datetime) -> None:
    await work.events.add(facilitator_id, details, now)
