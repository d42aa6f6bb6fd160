"""Reviews of events. Contract D filters by the `rating` that is computed from them."""

from datetime import datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from application.accounts.sessions import Actor
from application.events.ports import ReviewView
from application.events.reviews import ListReviews, WriteReview
from application.ports import DEFAULT_PAGE, PageRequest
from domain.api_keys import Scope
from interfaces.http.authentication import public, signed_in
from interfaces.http.injection import Inject
from interfaces.http.parameters import Cursor, EventIdInPath, PageSize
from interfaces.http.schemas import object_page, whole_seconds

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


@post(
    "/events/{event_id:str}/reviews",
    operation_id="createReview",
    tags=TAGS,
    guards=[signed_in.with_scope(Scope.EVENTS_WRITE)],
)
async def add_review(
    event_id: FromPath[EventIdInPath],
    data: JSONBody[NewReview],
    actor: Inject[Actor],
    write_review: Inject[WriteReview],
) -> ReviewAnswer:
    review = await write_review(actor.user, event_id, rating=data.rating, comment=data.comment)
    return ReviewAnswer("Review created successfully", _review(review))


@get("/events/{event_id:str}/reviews", operation_id="listReviews", tags=TAGS, opt=public)
async def list_event_reviews(
    request: Request[Any, Any, Any],
    event_id: FromPath[EventIdInPath],
    list_reviews: Inject[ListReviews],
    limit: FromQuery[PageSize] = DEFAULT_PAGE,
    cursor: FromQuery[Cursor] = None,
) -> Response[ReviewList]:
    page = await list_reviews(event_id, PageRequest(limit, cursor))
    return object_page(request, ReviewList([_review(review) for review in page.items], page.next))


ROUTES = [add_review, list_event_reviews]


def _review(review: ReviewView) -> ReviewBody:
    return ReviewBody(
        id=review.id,
        rating=review.rating,
        comment=review.comment,
        user=Reviewer(review.user_id, review.user_name),
        created_at=whole_seconds(review.created_at),
    )
