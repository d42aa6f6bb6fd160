"""Composition of calendar feeds for the API."""

from dataclasses import dataclass

from application.calendars.feeds import CloseFeed, OpenFeed, ReadFeed
from application.ports import Clock
from infrastructure.icalendar.feeds import IcsWriter
from infrastructure.postgres.calendars.feeds import PostgresFeeds
from infrastructure.postgres.engine import Database


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CalendarFeeds:
    open_feed: OpenFeed
    close_feed: CloseFeed
    read_feed: ReadFeed


def build_feeds(database: Database, public_url: str, clock: Clock) -> CalendarFeeds:
    feeds = PostgresFeeds(database)
    return CalendarFeeds(
        open_feed=OpenFeed(feeds, public_url, clock),
        close_feed=CloseFeed(feeds),
        read_feed=ReadFeed(feeds, IcsWriter(public_url), clock),
    )
