"""What the tests of use cases share."""

import pytest

from domain.accounts import User
from tests.application.booking_application import BookingApplication
from tests.application.calendar_application import CalendarApplication


@pytest.fixture
def app(request: pytest.FixtureRequest) -> BookingApplication:
    """A new application. A module that needs another one names it as `APPLICATION`."""
    application: type[BookingApplication] = getattr(request.module, "APPLICATION", BookingApplication)
    return application()


@pytest.fixture
async def coach(app: CalendarApplication) -> User:
    """With a connected calendar."""
    return await app.connected_coach()
