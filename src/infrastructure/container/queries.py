"""The queries whose lists a replica serves."""

from application.bookings.ports import BookingQueries, FacilitatorQueries
from application.events.ports import EventQueries, ReviewQueries
from infrastructure.container.replica import ReplicaParts
from infrastructure.postgres.engine import Database
from infrastructure.postgres.events.facilitator_queries import PostgresFacilitatorQueries
from infrastructure.postgres.events.queries import (
    PostgresBookingQueries,
    PostgresEventQueries,
    PostgresReviewQueries,
)
from infrastructure.settings import Settings


def build_queries(
    settings: Settings, database: Database, replica: ReplicaParts | None
) -> tuple[EventQueries, BookingQueries, ReviewQueries, FacilitatorQueries]:
    """Their lists are served by the replica, if there is one."""

    def of(server: Database) -> tuple[EventQueries, BookingQueries, ReviewQueries, FacilitatorQueries]:
        return (
            PostgresEventQueries(server, emails_public=settings.facilitator_email_public),
            PostgresBookingQueries(server),
            PostgresReviewQueries(server),
            PostgresFacilitatorQueries(server),
        )

    events, bookings, reviews, facilitators = of(database)
    if replica is None:
        return events, bookings, reviews, facilitators
    copies, routed = of(replica.database), replica.reads.routed
    return (
        routed(events, copies[0], ("list", "list_of_facilitator")),
        routed(bookings, copies[1], ("list_of_user", "of_event", "list_of_facilitator")),
        routed(reviews, copies[2], ("list_of_event",)),
        routed(facilitators, copies[3], ("dashboard",)),
    )
