"""The rules of exporting what is stored about an account."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.export import EXPORTS_PER_ACCOUNT, ExportAccount
from application.accounts.ports.accounts import Archive
from application.accounts.sessions import Actor
from domain.accounts import UserId
from domain.audit import AuditAction, Audited, AuditedKind
from domain.errors import TooManyRequests, Unauthenticated
from tests.support.memory.account_use_cases import AccountUseCases
from tests.support.memory.audit_log import audit_entries


class OneRecord:
    """What is stored: the id of the account."""

    async def export(self, user_id: UserId, archive: Archive) -> None:
        await archive.add_records("profile", [str(user_id)])


class Received:
    def __init__(self) -> None:
        self.sections: list[tuple[str, Sequence[str]]] = []

    async def add_records(self, section: str, records: Sequence[str]) -> None:
        self.sections.append((section, records))

    async def add_file(self, name: str, content: bytes) -> None:
        raise AssertionError("the account has no file")


@pytest.fixture
async def accounts() -> AccountUseCases:
    """With a registered account."""
    accounts = AccountUseCases()
    await accounts.has_registered()
    return accounts


@pytest.fixture
async def actor(accounts: AccountUseCases) -> Actor:
    return await accounts.is_authenticated(await accounts.has_logged_in())


@pytest.fixture
def export(accounts: AccountUseCases) -> ExportAccount:
    return ExportAccount(accounts.units, OneRecord(), accounts.limiter)


def exports_in_log(accounts: AccountUseCases) -> list[Audited]:
    entries = audit_entries(accounts.store)
    return [entry.audited for entry in entries if entry.action == AuditAction.ACCOUNT_EXPORTED]


async def test_owner_gets_the_data_and_the_audit_log_records_it(
    accounts: AccountUseCases, actor: Actor, export: ExportAccount
) -> None:
    received = Received()
    await export(actor, received)
    assert received.sections == [("profile", [str(actor.user.id)])]
    assert exports_in_log(accounts) == [Audited(AuditedKind.ACCOUNT, str(actor.user.id))]


async def test_exports_are_limited_for_each_account(
    accounts: AccountUseCases, actor: Actor, export: ExportAccount
) -> None:
    for _ in range(EXPORTS_PER_ACCOUNT.times):
        await export(actor, Received())
    with pytest.raises(TooManyRequests):
        await export(actor, Received())
    assert len(exports_in_log(accounts)) == EXPORTS_PER_ACCOUNT.times

    await accounts.has_registered(email="other@example.com")
    other = await accounts.is_authenticated(await accounts.has_logged_in(email="other@example.com"))
    await export(other, Received())
    accounts.clock.advance(EXPORTS_PER_ACCOUNT.per + timedelta(seconds=1))
    await export(actor, Received())


async def test_access_that_has_ended_meanwhile_exports_nothing(
    accounts: AccountUseCases, actor: Actor, export: ExportAccount
) -> None:
    outdated = Actor(replace(actor.user, token_version=actor.user.token_version - 1), actor.login_id)
    received = Received()
    with pytest.raises(Unauthenticated):
        await export(outdated, received)
    assert received.sections == []
    assert exports_in_log(accounts) == []
