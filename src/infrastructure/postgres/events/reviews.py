"""Reviews, and the ratings of facilitators computed from them."""

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.reviews import Review, ReviewId
from infrastructure.postgres.accounts.repository import PostgresProfiles
from infrastructure.postgres.constraints import domain_errors
from infrastructure.postgres.tables import ReviewRow


class _ReviewRows(SQLAlchemyAsyncRepository[ReviewRow]):
    model_type = ReviewRow


class PostgresReviews:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._rows = _ReviewRows(session=session)
        self._profiles = PostgresProfiles(session)

    async def add(self, review: Review, *, facilitator_id: UserId) -> ReviewId:
        row = ReviewRow(
            event_id=review.event_id,
            user_id=review.user_id,
            rating=review.rating,
            comment=review.comment,
            created_at=review.created_at,
        )
        with domain_errors():
            added = await self._rows.add(row)
        await self._profiles.add_rating(facilitator_id, review.rating, review.created_at)
        return ReviewId(added.id)
