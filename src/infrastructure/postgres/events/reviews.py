"""Reviews, and the ratings of facilitators computed from them."""

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.accounts import UserId
from domain.reviews import Review, ReviewId
from infrastructure.postgres.constraints import domain_errors
from infrastructure.postgres.tables import FacilitatorProfileRow, ReviewRow


class _ReviewRows(SQLAlchemyAsyncRepository[ReviewRow]):
    model_type = ReviewRow


class PostgresReviews:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._rows = _ReviewRows(session=session)

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
        # Admins can have events without a facilitator profile.
        first = insert(FacilitatorProfileRow).values(
            user_id=facilitator_id, rating_sum=review.rating, rating_count=1, created_at=review.created_at
        )
        await self._session.execute(
            first.on_conflict_do_update(
                index_elements=[FacilitatorProfileRow.user_id],
                set_={
                    "rating_sum": FacilitatorProfileRow.rating_sum + review.rating,
                    "rating_count": FacilitatorProfileRow.rating_count + 1,
                },
            )
        )
        return ReviewId(added.id)
