"""`convene users`: administration of accounts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from application.accounts.ports.accounts import AccountFilter
from application.accounts.registration import Registration
from application.ports import Page, PageRequest
from domain.accounts import Role, User, UserNotFound
from interfaces.cli.environment import command_database
from interfaces.cli.pages import moment, next_page, one_line, page_options, print_json_page, table
from interfaces.cli.problems import Problem
from interfaces.cli.use_cases import as_operator
from interfaces.emails import account_address, email_address

if TYPE_CHECKING:
    from infrastructure.container import Container
    from infrastructure.container.administration import Administration


@click.group()
def users() -> None:
    """List, create, approve, promote and deactivate accounts."""


@users.command("list")
@click.option("--role", type=click.Choice([str(role) for role in Role]), help="Only accounts with this role.")
@click.option("--active/--inactive", default=None, help="Only accounts that can log in, or only deactivated ones.")
@click.option("--verified/--unverified", default=None, help="Only accounts with a verified address, or the others.")
@click.option("--requested", is_flag=True, help="Only accounts that await approval as a facilitator.")
@click.option(
    "--search", metavar="TEXT", help="Only accounts with these words, or words that begin so, in name or address."
)
@page_options
def list_(
    role: str | None,
    active: bool | None,
    verified: bool | None,
    requested: bool,
    search: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List accounts, newest first."""
    wanted = AccountFilter(search, Role(role) if role else None, active, verified, requested)
    found = _page(wanted, PageRequest(limit, cursor))
    if as_json:
        print_json_page([_entry(user) for user in found.items], found.next)
        return
    rows = [
        (
            str(user.id),
            one_line(user.email, 80),
            one_line(user.name, 40),
            f"{user.role} (requests {user.requested_role})" if user.requested_role else str(user.role),
            "active" if user.is_active else "inactive",
            moment(user.created_at),
        )
        for user in found.items
    ]
    click.echo(table(("id", "email", "name", "role", "state", "created"), rows) if rows else "no accounts")
    if found.next is not None:
        click.echo(next_page(found.next))


@users.command("create")
@click.argument("email")
@click.option("--name", required=True, help="The person's name.")
@click.option("--role", type=click.Choice([str(role) for role in Role]), default=str(Role.USER), show_default=True)
@click.password_option(envvar="CONVENE_PASSWORD", help="Asked for when neither it nor CONVENE_PASSWORD is given.")
def create(email: str, name: str, role: str, password: str) -> None:
    """Create an account, such as the first admin."""

    async def work(parts: "Container") -> User:
        account = Registration(email=email_address(email), password=password, name=name, role=Role(role))
        return await parts.use_cases.create_account(account, address="command line")

    user = as_operator(work)
    click.echo(f"{user.email} is {user.role}, id {user.id}")


@users.command("passwd")
@click.argument("email")
@click.password_option(envvar="CONVENE_PASSWORD", help="Asked for when neither it nor CONVENE_PASSWORD is given.")
def passwd(email: str, password: str) -> None:
    """Set a new password for EMAIL. All logins and pending links of the account end, and its owner gets a mail."""
    address = account_address(email)
    user = as_operator(lambda parts: parts.use_cases.set_password(email=address, password=password))
    if user is None:
        raise _no_account(email)
    click.echo(f"{user.email} has a new password")


@users.command("promote")
@click.argument("email")
@click.argument("role", type=click.Choice([str(role) for role in Role]))
def promote(email: str, role: str) -> None:
    """Give EMAIL another ROLE. All logins of the account end."""
    user = _changed(email, lambda administration, account: administration.grant_role(account, role=Role(role)))
    click.echo(f"{user.email} is {user.role}")


@users.command("approve")
@click.argument("email")
def approve(email: str) -> None:
    """Make EMAIL a facilitator, as requested when registering (FACILITATOR_REGISTRATION=approval). `convene users list
    --requested` lists who waits; `convene users promote EMAIL user` declines."""
    user = _changed(email, lambda administration, account: administration.approve_facilitator(account))
    click.echo(f"{user.email} is {user.role}")


@users.command("reset-factor")
@click.argument("email")
def reset_factor(email: str) -> None:
    """Remove the second factors and recovery codes of EMAIL, whose owner has lost them. All logins and API keys of
    the account end, and its owner gets a mail. Make sure first that the owner asks."""
    user = _changed(email, lambda administration, account: administration.reset_second_factors(account))
    click.echo(f"{user.email} has no second factor")


@users.command("deactivate")
@click.argument("email")
def deactivate(email: str) -> None:
    """Deactivate EMAIL. All logins end immediately. A facilitator's events can no longer be listed or booked, and
    unpaid holds end. Paid bookings stay; `convene doctor` lists them."""
    user = _changed(email, lambda administration, account: administration.set_account_active(account, active=False))
    click.echo(f"{user.email} is deactivated")


@users.command("activate")
@click.argument("email")
def activate(email: str) -> None:
    """Activate EMAIL again. A facilitator's events can be listed and booked again."""
    user = _changed(email, lambda administration, account: administration.set_account_active(account, active=True))
    click.echo(f"{user.email} is active")


@users.command("erase")
@click.argument("email")
@click.confirmation_option(prompt="This cancels what EMAIL has booked and deletes the personal data. Go on?")
def erase(email: str) -> None:
    """Erase EMAIL, as its owner can. The account is deactivated at once, and its owner gets a mail. After
    ERASURE_GRACE_DAYS the worker cancels what is ahead and deletes the personal data, in the CRM too. Until then
    `convene users activate` withdraws it."""
    address = account_address(email)
    try:
        erasure = as_operator(lambda parts: parts.administration.request_erasure(address))
    except UserNotFound:
        raise _no_account(email) from None
    click.echo(f"{address} is deactivated and will be erased from {moment(erasure.due_at)} on")


def _entry(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "uuid": user.uuid,
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "requested_role": user.requested_role,
        "is_active": user.is_active,
        "is_verified": user.is_verified,
        "created_at": user.created_at,
    }


def _page(wanted: AccountFilter, page: PageRequest) -> Page[User]:
    from infrastructure.postgres.accounts.queries import PostgresAccountQueries

    async def read() -> Page[User]:
        database = command_database()
        try:
            return await PostgresAccountQueries(database).list(wanted, page)
        finally:
            await database.close()

    return asyncio.run(read())


def _changed(email: str, change: "Callable[[Administration, str], Awaitable[User]]") -> User:
    address = account_address(email)
    try:
        return as_operator(lambda parts: change(parts.administration, address))
    except UserNotFound:
        raise _no_account(email) from None


def _no_account(email: str) -> Problem:
    return Problem(f"there is no account with {email}: `convene users create` makes one")
