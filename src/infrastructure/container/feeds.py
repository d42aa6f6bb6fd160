"""What deals with feeds. The HTTP edge offers each part under its field's name."""

from dataclasses import dataclass

from application.calendars.feeds import CloseFeed, OpenFeed, ReadFeed
from application.ports import Clock
from infrastructure.calendars.feed_writer import IcsWriter
from infrastructure.database.engine import Database
from infrastructure.database.feeds import PostgresFeeds


@dataclass(frozen=True, slots=True)
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
