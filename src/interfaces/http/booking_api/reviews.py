"""Reviews of events. Contract D filters by the `rating` that is computed from them."""

from datetime import datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.events.ports import ReviewView
from application.events.reviews import ListReviews, WriteReview
from application.ports import DEFAULT_PAGE
from domain.events import EventId, EventNotFound
from interfaces.http.authentication import public, signed_in
from interfaces.http.injection import Inject
from interfaces.http.schemas import object_page, page_request, path_id, whole_seconds

TAGS = ["Contract D: reviews"]


class NewReview(Struct):
    rating: int
    comment: str | None = None


class Reviewer(Struct):
    id: int
    name: str


class ReviewBody(Struct):
    id: int
    rating: int
    comment: str | None
    user: Reviewer
    created_at: datetime


class ReviewAnswer(Struct):
    message: str
    review: ReviewBody


class ReviewList(Struct):
    reviews: list[ReviewBody]
    next_cursor: str | None


@post("/events/{event_id:str}/reviews", operation_id="createReview", tags=TAGS, guards=[signed_in])
async def add_review(
    event_id: FromPath[str], data: JSONBody[NewReview], actor: Inject[Actor], write_review: Inject[WriteReview]
) -> ReviewAnswer:
    review = await write_review(actor.user, _id(event_id), rating=data.rating, comment=data.comment)
    return ReviewAnswer("Review created successfully", _review(review))


@get("/events/{event_id:str}/reviews", operation_id="listReviews", tags=TAGS, opt=public)
async def list_event_reviews(
    request: Request[Any, Any, Any],
    event_id: FromPath[str],
    list_reviews: Inject[ListReviews],
    limit: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
) -> Response[ReviewList]:
    page = await list_reviews(_id(event_id), page_request(limit, cursor, default=DEFAULT_PAGE))
    return object_page(request, ReviewList([_review(review) for review in page.items], page.next))


ROUTES = [add_review, list_event_reviews]


def _id(text: str) -> EventId:
    return EventId(path_id(text, EventNotFound))


def _review(review: ReviewView) -> ReviewBody:
    return ReviewBody(
        id=review.id,
        rating=review.rating,
        comment=review.comment,
        user=Reviewer(review.user_id, review.user_name),
        created_at=whole_seconds(review.created_at),
    )
