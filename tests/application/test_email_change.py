"""The rules of changing the e-mail address of an account, and of undoing it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from application.accounts.account_tokens import TRIES_PER_NETWORK, RequestTokens
from application.accounts.email_change import (
    CHANGES_PER_ACCOUNT,
    CHANGES_PER_ADDRESS,
    ChangeEmail,
    RequestEmailChange,
    UndoEmailChange,
)
from application.accounts.email_change_mails import MailWithEmailChangeLinks
from application.accounts.external_identity import SignInWithIdentity
from application.accounts.mails import MailWithAccountTokens
from application.accounts.owner import ConfirmOwner
from application.accounts.profile import ChangePassword
from application.accounts.sessions import Actor
from domain.account_tokens import TOKEN_LIFETIME, UNSENT_TOKEN_LIFETIME, TokenKind, TokenNotValid
from domain.accounts import (
    RECENT_SIGN_IN,
    EmailTaken,
    InvalidCredentials,
    PasswordPolicy,
    RecentSignInRequired,
    User,
)
from domain.errors import Invalid, TooManyRequests, Unauthenticated
from domain.external_identity import ExternalIdentity, OtherExternalAccount
from domain.outbox import Delivered, Message, MessageType
from tests.application.account_mails import AccountMails
from tests.support.memory.account_use_cases import ADDRESS, ELSEWHERE, EMAIL, PASSWORD
from tests.support.memory.audit_log import audit_entries

NEW, NEWEST = "countess@example.com", "lovelace@example.com"
SECOND = timedelta(seconds=1)
NO_MAIL = Delivered("not sent: the request was replaced or has ended")


class EmailChanges(AccountMails):
    def __init__(self) -> None:
        super().__init__()
        tokens = RequestTokens(b"key")
        self.sender = MailWithAccountTokens(
            MailWithEmailChangeLinks(self.mail, self.units, tokens, self.clock), self.units, self.clock
        )
        confirm = ConfirmOwner(self.units, self.hasher, self.guesses, self.clock)
        self.request_change = RequestEmailChange(self.units, confirm, tokens, self.limiter, self.wake_ups, self.clock)
        self.change_email = ChangeEmail(self.units, self.limiter, self.wake_ups, self.clock)
        self.undo = UndoEmailChange(self.units, self.limiter, self.wake_ups, self.clock)
        self.sign_in = SignInWithIdentity(self.units, self.start_login, self.wake_ups, self.clock)

    async def requests(self, email: str = NEW, *, actor: Actor | None = None, password: str | None = PASSWORD) -> None:
        actor = actor or await self.signed_in()
        await self.request_change(actor, email=email, password=password, address=ADDRESS)

    async def mailed(self, message_type: MessageType) -> Message:
        """The last mail of this type."""
        while await self.outcomes():
            pass
        return [mail for mail in self.mail.received if mail.message_type is message_type][-1]

    async def links(self, email: str = NEW, **values: str) -> tuple[str, str]:
        """The tokens of a new request: the one that changes the address, and the one that undoes it."""
        await self.requests(email, **values)  # type: ignore[arg-type]
        change = await self.mailed(MessageType.EMAIL_CHANGE_CONFIRMATION)
        undo = await self.mailed(MessageType.EMAIL_CHANGE_REQUESTED)
        return change.payload["token"], undo.payload["token"]

    async def has_changed(self, email: str = NEW) -> str:
        """The token that undoes it."""
        change, undo = await self.links(email)
        await self.change_email(change, address=ADDRESS)
        return undo

    async def changes_password(self, new: str, *, email: str) -> None:
        actor = await self.is_authenticated(await self.has_logged_in(email=email))
        change = ChangePassword(
            self.units, self.hasher, self.guesses, self.wake_ups, self.clock, PasswordPolicy.CONTRACT
        )
        await change(actor, current=PASSWORD, new=new, address=ADDRESS)

    @property
    def ada(self) -> User:
        return self.users()[0]


@pytest.fixture
async def accounts() -> EmailChanges:
    """With an account whose address is not verified."""
    accounts = EmailChanges()
    await accounts.has_registered()
    await accounts.outcomes()
    accounts.mail.received.clear()
    return accounts


# The change


async def test_link_of_the_mail_to_the_new_address_changes_it(accounts: EmailChanges) -> None:
    change, _ = await accounts.links()
    mails = [(mail.message_type, mail.payload["person"]["email"]) for mail in accounts.mail.received]
    assert sorted(mails) == [
        (MessageType.EMAIL_CHANGE_CONFIRMATION, NEW),
        (MessageType.EMAIL_CHANGE_REQUESTED, EMAIL),
    ]
    assert accounts.ada.email == EMAIL

    await accounts.change_email(change, address=ADDRESS)
    assert (accounts.ada.email, accounts.ada.is_verified) == (NEW, True)
    assert (await accounts.mailed(MessageType.EMAIL_CHANGED)).payload["person"]["email"] == EMAIL
    await accounts.has_logged_in(email=NEW)
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()


async def test_change_keeps_sessions_and_calendars(accounts: EmailChanges) -> None:
    login = await accounts.has_logged_in()
    accounts.has_calendars(login.user)
    await accounts.has_changed()
    assert (await accounts.is_authenticated(login)).user.email == NEW
    assert accounts.calendars_of(login.user) == {"calendar_feeds", "calendar_connections"}


async def test_later_mails_go_to_the_new_address(accounts: EmailChanges) -> None:
    await accounts.has_changed()
    await accounts.forgot(email=NEW, address=ADDRESS)
    assert (await accounts.mailed(MessageType.PASSWORD_RESET_REQUESTED)).payload["person"]["email"] == NEW


async def test_change_ends_other_pending_links(accounts: EmailChanges) -> None:
    await accounts.resend(await accounts.signed_in())
    verification = await accounts.mailed_token()
    await accounts.forgot(email=EMAIL, address=ADDRESS)
    reset = await accounts.mailed_token()
    await accounts.has_changed()
    with pytest.raises(TokenNotValid):
        await accounts.verify(verification, address=ADDRESS)
    with pytest.raises(TokenNotValid):
        await accounts.reset(reset, password="another password", address=ADDRESS)


async def test_change_forgets_the_networks_of_the_address_before(accounts: EmailChanges) -> None:
    change, _ = await accounts.links()
    assert accounts.networks_of(accounts.ada)
    await accounts.change_email(change, address=ADDRESS)
    assert not accounts.networks_of(accounts.ada)


async def test_change_is_recorded_with_hashes_of_the_addresses(accounts: EmailChanges) -> None:
    await accounts.has_changed()
    (entry,) = [each for each in audit_entries(accounts.store) if each.action == "account.email_changed"]
    assert entry.before is not None
    assert entry.after is not None
    assert entry.before["address"] != entry.after["address"]
    assert "@" not in repr(entry)


async def test_tokens_that_are_not_valid_are_refused_equally(accounts: EmailChanges) -> None:
    late, undo = await accounts.links()
    accounts.clock.advance(TOKEN_LIFETIME[TokenKind.CHANGE_EMAIL])
    replaced, _ = await accounts.links(NEWEST)
    used, _ = await accounts.links()
    await accounts.change_email(used, address=ADDRESS)
    for token in (late, replaced, used, undo, "guess", "", "\0", "ü"):
        with pytest.raises(TokenNotValid):
            await accounts.change_email(token, address=ADDRESS)
    assert accounts.ada.email == NEW


async def test_token_is_valid_until_its_end(accounts: EmailChanges) -> None:
    change, undo = await accounts.links()
    accounts.clock.advance(TOKEN_LIFETIME[TokenKind.CHANGE_EMAIL] - SECOND)
    await accounts.change_email(change, address=ADDRESS)
    accounts.clock.advance(timedelta(hours=48))
    await accounts.undo(undo, address=ADDRESS)
    assert accounts.ada.email == EMAIL


async def test_lifetime_begins_when_the_mail_is_sent(accounts: EmailChanges) -> None:
    await accounts.requests()
    accounts.clock.advance(UNSENT_TOKEN_LIFETIME - SECOND)
    change = await accounts.mailed(MessageType.EMAIL_CHANGE_CONFIRMATION)
    accounts.clock.advance(TOKEN_LIFETIME[TokenKind.CHANGE_EMAIL] - SECOND)
    await accounts.change_email(change.payload["token"], address=ADDRESS)


async def test_no_stored_message_or_row_has_a_token(accounts: EmailChanges) -> None:
    tokens = await accounts.links()
    for token in tokens:
        assert token not in repr(accounts.messages())
        assert token not in repr(accounts.store.tables.of("account_tokens"))
        assert len(token) == 43, "256 bits in base64"
    assert len(set(tokens)) == 2


async def test_mail_of_a_replaced_request_is_not_sent(accounts: EmailChanges) -> None:
    await accounts.requests()
    await accounts.requests(NEWEST)
    assert NO_MAIL in await accounts.outcomes()
    confirmations = [
        mail.payload["person"]["email"]
        for mail in accounts.mail.received
        if mail.message_type is MessageType.EMAIL_CHANGE_CONFIRMATION
    ]
    assert confirmations == [NEWEST]


async def test_mail_of_a_request_before_a_new_password_is_not_sent(accounts: EmailChanges) -> None:
    await accounts.requests()
    await accounts.changes_password("another password", email=EMAIL)
    outcomes = await accounts.outcomes()
    assert NO_MAIL in outcomes
    warning = await accounts.mailed(MessageType.EMAIL_CHANGE_REQUESTED)
    await accounts.undo(warning.payload["token"], address=ADDRESS)


async def test_deactivated_account_is_not_changed(accounts: EmailChanges) -> None:
    change, undo = await accounts.links()
    accounts.change(replace(accounts.ada, is_active=False))
    with pytest.raises(TokenNotValid):
        await accounts.change_email(change, address=ADDRESS)
    with pytest.raises(TokenNotValid):
        await accounts.undo(undo, address=ADDRESS)


@pytest.mark.parametrize("kind", ["change", "undo"])
async def test_wrong_tokens_are_limited_per_network(accounts: EmailChanges, kind: str) -> None:
    change, undo = await accounts.links()
    use, token = (accounts.change_email, change) if kind == "change" else (accounts.undo, undo)
    for _ in range(TRIES_PER_NETWORK.times):
        with pytest.raises(TokenNotValid):
            await use("guess", address=ADDRESS)
    with pytest.raises(TooManyRequests):
        await use(token, address=ADDRESS)
    await use(token, address=ELSEWHERE)
    assert accounts.limiter.counted(TRIES_PER_NETWORK, ELSEWHERE) == 0


# Requests


@pytest.mark.parametrize("password", ["a wrong one", "", None])
async def test_request_needs_the_password(accounts: EmailChanges, password: str | None) -> None:
    before = len(accounts.messages())
    with pytest.raises(InvalidCredentials):
        await accounts.requests(password=password)
    assert len(accounts.messages()) == before


async def test_wrong_passwords_count_towards_the_limit_of_logins(accounts: EmailChanges) -> None:
    actor = await accounts.signed_in()
    for _ in range(10):
        with pytest.raises(InvalidCredentials):
            await accounts.requests(actor=actor, password="a wrong one")
    with pytest.raises(TooManyRequests):
        await accounts.requests(actor=actor)


async def test_request_with_ended_access_is_refused(accounts: EmailChanges) -> None:
    actor = await accounts.signed_in()
    await accounts.log_out(actor, everywhere=True)
    with pytest.raises(Unauthenticated):
        await accounts.requests(actor=actor)


async def test_present_address_and_addresses_without_mail_are_rejected(accounts: EmailChanges) -> None:
    for email in (EMAIL, "jörg@example.com"):
        with pytest.raises(Invalid) as refused:
            await accounts.requests(email)
        assert list(refused.value.details) == ["email"]


async def test_requests_are_limited_per_account(accounts: EmailChanges) -> None:
    for number in range(CHANGES_PER_ACCOUNT.times):
        await accounts.requests(f"new{number}@example.com")
    with pytest.raises(TooManyRequests):
        await accounts.requests()


async def test_requests_are_limited_per_new_address(accounts: EmailChanges) -> None:
    for number in range(CHANGES_PER_ADDRESS.times):
        await accounts.limiter.take(CHANGES_PER_ADDRESS, NEW)
        assert number < CHANGES_PER_ADDRESS.times
    with pytest.raises(TooManyRequests):
        await accounts.requests()
    await accounts.requests(NEWEST)


# Accounts that sign in with Google alone


async def test_recent_sign_in_stands_for_the_password_of_an_account_without_one(accounts: EmailChanges) -> None:
    identity = ExternalIdentity("google", "a subject", "google@example.com", True, "Ada", None)
    actor = await accounts.is_authenticated(await accounts.sign_in(identity))
    accounts.clock.advance(RECENT_SIGN_IN)
    await accounts.requests(actor=actor, password=None)
    accounts.clock.advance(SECOND)
    with pytest.raises(RecentSignInRequired):
        await accounts.requests(actor=actor, password=None)
    change = await accounts.mailed(MessageType.EMAIL_CHANGE_CONFIRMATION)
    await accounts.change_email(change.payload["token"], address=ADDRESS)
    assert (await accounts.sign_in(identity)).user.email == NEW, "the link to Google stays"


# Addresses of others


async def test_request_is_the_same_for_an_address_that_is_taken(accounts: EmailChanges) -> None:
    await accounts.has_registered(email=NEW, name="Charles")
    await accounts.outcomes()
    stored = len(accounts.messages())
    await accounts.requests(NEW)
    taken = [(row.message_type, set(row.payload)) for row in accounts.messages()[stored:]]
    await accounts.requests(NEWEST)
    free = [(row.message_type, set(row.payload)) for row in accounts.messages()[stored + 2 :]]
    assert taken == free


async def test_mail_to_a_taken_address_has_no_link_and_no_name(accounts: EmailChanges) -> None:
    await accounts.has_registered(email=NEW, name="Charles")
    await accounts.requests(NEW)
    mail = await accounts.mailed(MessageType.EMAIL_CHANGE_CONFIRMATION)
    assert mail.payload["person"] == {"name": NEW, "email": NEW}
    assert "token" not in mail.payload
    await accounts.mailed(MessageType.EMAIL_CHANGE_REQUESTED)


async def test_address_that_is_taken_meanwhile_is_refused_and_the_token_stays_valid(accounts: EmailChanges) -> None:
    change, _ = await accounts.links()
    other = await accounts.has_registered(email=NEW)
    with pytest.raises(EmailTaken):
        await accounts.change_email(change, address=ADDRESS)
    accounts.change(replace(other, email=NEWEST))
    await accounts.change_email(change, address=ADDRESS)


# Undoing


async def test_link_of_the_warning_restores_the_address_and_ends_all_access(accounts: EmailChanges) -> None:
    undo = await accounts.has_changed()
    intruder = await accounts.has_logged_in(email=NEW)
    accounts.has_calendars(intruder.user)
    accounts.change(replace(accounts.ada, external_id="linked by the new address"))
    await accounts.undo(undo, address=ADDRESS)

    assert (accounts.ada.email, accounts.ada.external_id, accounts.ada.is_verified) == (EMAIL, None, True)
    with pytest.raises(Unauthenticated):
        await accounts.is_authenticated(intruder)
    assert not accounts.calendars_of(intruder.user)
    assert accounts.password_hash(accounts.ada.id) is None
    assert set(accounts.end_reasons()) == {"change of the e-mail address undone"}

    reset = await accounts.mailed(MessageType.PASSWORD_RESET_REQUESTED)
    assert reset.payload["person"]["email"] == EMAIL
    await accounts.reset(reset.payload["token"], password="another password", address=ADDRESS)
    await accounts.has_logged_in(password="another password")


async def test_link_of_the_warning_gives_up_a_change_that_is_not_made(accounts: EmailChanges) -> None:
    accounts.change(replace(accounts.ada, external_id="the owner's"))
    change, undo = await accounts.links()
    await accounts.undo(undo, address=ADDRESS)
    with pytest.raises(TokenNotValid):
        await accounts.change_email(change, address=ADDRESS)
    assert (accounts.ada.email, accounts.ada.external_id) == (EMAIL, "the owner's")
    with pytest.raises(InvalidCredentials):
        await accounts.has_logged_in()


async def test_mail_that_waits_is_not_sent_after_the_undoing(accounts: EmailChanges) -> None:
    _, undo = await accounts.links()
    await accounts.requests(NEWEST)
    await accounts.undo(undo, address=ADDRESS)
    assert (await accounts.outcomes()).count(NO_MAIL) == 2


async def test_undoing_survives_the_end_of_all_other_tokens(accounts: EmailChanges) -> None:
    undo = await accounts.has_changed()
    await accounts.changes_password("the intruder's", email=NEW)
    await accounts.set_password(email=NEW, password="the operator's")
    await accounts.forgot(email=NEW, address=ADDRESS)
    reset = await accounts.mailed(MessageType.PASSWORD_RESET_REQUESTED)
    await accounts.reset(reset.payload["token"], password="the intruder's again", address=ADDRESS)
    await accounts.undo(undo, address=ADDRESS)
    assert accounts.ada.email == EMAIL


async def test_undoing_keeps_the_links_of_earlier_changes(accounts: EmailChanges) -> None:
    first = await accounts.has_changed(NEW)
    accounts.clock.advance(SECOND)
    actor = await accounts.is_authenticated(await accounts.has_logged_in(email=NEW))
    await accounts.requests(NEWEST, actor=actor)
    second = (await accounts.mailed(MessageType.EMAIL_CHANGE_REQUESTED)).payload["token"]
    change = (await accounts.mailed(MessageType.EMAIL_CHANGE_CONFIRMATION)).payload["token"]
    await accounts.change_email(change, address=ADDRESS)
    await accounts.undo(second, address=ADDRESS)
    assert accounts.ada.email == NEW
    await accounts.undo(first, address=ADDRESS)
    assert accounts.ada.email == EMAIL


async def test_undoing_ends_the_links_of_later_changes(accounts: EmailChanges) -> None:
    owner = await accounts.has_changed(NEW)
    accounts.clock.advance(SECOND)
    actor = await accounts.is_authenticated(await accounts.has_logged_in(email=NEW))
    await accounts.requests(NEWEST, actor=actor)
    intruder = (await accounts.mailed(MessageType.EMAIL_CHANGE_REQUESTED)).payload["token"]
    await accounts.undo(owner, address=ADDRESS)
    with pytest.raises(TokenNotValid):
        await accounts.undo(intruder, address=ADDRESS)
    assert accounts.ada.email == EMAIL


async def test_undoing_tokens_that_are_not_valid_are_refused_equally(accounts: EmailChanges) -> None:
    change, undo = await accounts.links()
    await accounts.undo(undo, address=ADDRESS)
    await accounts.forgot(email=EMAIL, address=ADDRESS)
    reset = await accounts.mailed_token()
    for token in (undo, change, reset, "guess", ""):
        with pytest.raises(TokenNotValid):
            await accounts.undo(token, address=ADDRESS)


async def test_undoing_expires(accounts: EmailChanges) -> None:
    undo = await accounts.has_changed()
    accounts.clock.advance(TOKEN_LIFETIME[TokenKind.UNDO_EMAIL_CHANGE])
    with pytest.raises(TokenNotValid):
        await accounts.undo(undo, address=ADDRESS)
    assert accounts.ada.email == NEW


# The address before a change


async def test_address_that_can_be_given_back_is_taken(accounts: EmailChanges) -> None:
    await accounts.has_changed()
    with pytest.raises(EmailTaken):
        await accounts.has_registered()
    identity = ExternalIdentity("google", "a subject", EMAIL, True, "Ada", None)
    with pytest.raises(OtherExternalAccount):
        await accounts.sign_in(identity)
    other = await accounts.has_registered(email="charles@example.com")
    actor = await accounts.is_authenticated(await accounts.has_logged_in(email=other.email))
    await accounts.requests(EMAIL, actor=actor)
    assert "token" not in (await accounts.mailed(MessageType.EMAIL_CHANGE_CONFIRMATION)).payload

    accounts.clock.advance(TOKEN_LIFETIME[TokenKind.UNDO_EMAIL_CHANGE])
    await accounts.has_registered()


async def test_account_can_change_back_to_its_address(accounts: EmailChanges) -> None:
    await accounts.has_changed()
    actor = await accounts.is_authenticated(await accounts.has_logged_in(email=NEW))
    await accounts.requests(EMAIL, actor=actor)
    change = await accounts.mailed(MessageType.EMAIL_CHANGE_CONFIRMATION)
    await accounts.change_email(change.payload["token"], address=ADDRESS)
    assert accounts.ada.email == EMAIL


async def test_other_mails_are_sent_unchanged(accounts: EmailChanges) -> None:
    async with accounts.units() as work:
        await work.messages.enqueue_facilitator_approved(accounts.ada.id)
        await work.commit()
    assert "token" not in (await accounts.mailed(MessageType.FACILITATOR_APPROVED)).payload
