"""Composition of API keys."""

from dataclasses import dataclass

from application.accounts.api_keys import CreateApiKey, RevokeApiKey
from application.accounts.ports.accounts import ApiKeyQueries
from application.ports import Clock, RateLimiter
from application.unit_of_work import OpenUnitOfWork
from infrastructure.postgres.accounts.api_keys import PostgresApiKeyQueries
from infrastructure.postgres.engine import Database
from infrastructure.settings import Settings


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ApiKeys:
    """Use cases and queries of API keys. HTTP handlers receive them by type."""

    create_api_key: CreateApiKey
    revoke_api_key: RevokeApiKey
    api_key_queries: ApiKeyQueries


def build_api_keys(
    settings: Settings, database: Database, open_work: OpenUnitOfWork, limiter: RateLimiter, clock: Clock
) -> ApiKeys:
    return ApiKeys(
        create_api_key=CreateApiKey(open_work, limiter, clock, settings.api_keys_per_account),
        revoke_api_key=RevokeApiKey(open_work, clock),
        api_key_queries=PostgresApiKeyQueries(database),
    )
