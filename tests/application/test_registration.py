"""The rules of registration."""

from datetime import timedelta

import pytest

from application.accounts.registration import REGISTRATIONS_PER_ACCOUNT, REGISTRATIONS_PER_ADDRESS, CreateAccount
from domain.accounts import (
    EmailTaken,
    FacilitatorRegistration,
    FacilitatorRegistrationClosed,
    InvalidCredentials,
    PasswordPolicy,
    Role,
    User,
)
from domain.errors import Invalid, TooManyRequests
from tests.support.memory.account_use_cases import (
    ADDRESS,
    ELSEWHERE,
    EMAIL,
    PASSWORD,
    AccountUseCases,
    a_registration,
)
from tests.support.memory.accounts import ProfileRow
from tests.support.memory.idempotency import claim_after_a_crash, request_under


@pytest.fixture
def accounts() -> AccountUseCases:
    return AccountUseCases()


async def test_registered_user_is_stored_with_the_hash_of_the_password(accounts: AccountUseCases) -> None:
    user = await accounts.register()(a_registration(), address=ADDRESS)

    assert accounts.users() == [user]
    assert (user.email, user.name, user.role, user.created_at) == (
        EMAIL,
        "Ada Lovelace",
        Role.USER,
        accounts.clock.moment,
    )
    assert not user.is_verified
    assert accounts.password_hash(user.id) == f"new {PASSWORD}"


async def test_registration_as_admin_is_rejected(accounts: AccountUseCases) -> None:
    with pytest.raises(Invalid) as rejected:
        await accounts.register()(a_registration(role=Role.ADMIN), address=ADDRESS)
    assert rejected.value.details.keys() == {"role"}
    assert accounts.users() == []


async def test_second_account_with_the_email_is_rejected(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    with pytest.raises(EmailTaken):
        await accounts.register()(a_registration(name="Another"), address=ELSEWHERE)
    assert [user.name for user in accounts.users()] == ["Ada Lovelace"]


async def test_letters_beyond_ascii_before_the_at_need_a_mail_server_that_accepts_them(
    accounts: AccountUseCases,
) -> None:
    registration = a_registration(email="zoë@example.com")
    with pytest.raises(Invalid) as refused:
        await accounts.register()(registration, address=ADDRESS)
    assert list(refused.value.details) == ["email"]

    assert (await accounts.register(smtputf8=True)(registration, address=ADDRESS)).email == "zoë@example.com"


async def test_letters_beyond_ascii_in_the_domain_are_accepted(accounts: AccountUseCases) -> None:
    assert (await accounts.has_registered(email="ada@bücher.example")).email == "ada@bücher.example"


@pytest.mark.parametrize(
    ("password", "is_accepted"),
    [
        ("a" * 7, False),
        ("a" * 8, True),
        ("a" * 128, True),
        ("a" * 129, False),
        (" " * 8, True),
        ("пароль-пароль", True),
        ("🐎🔋📎✅🐎🔋📎✅", True),
        ("a\tb\nc\rd\x1be", True),
        ("", False),
        ("a" * 60_000, False),
        ("\ufdfa" * 20, False),  # 360 characters after NFKC
        ("ﬁ" * 4, True),  # a ligature is two characters after NFKC
        ("ﬃ" * 43, False),  # and this one three
        ("e\u0301" * 7, False),  # seven letters with a combining accent are seven characters after NFKC
    ],
)
async def test_password_has_8_to_128_characters_after_nfkc(
    accounts: AccountUseCases, password: str, is_accepted: bool
) -> None:
    if is_accepted:
        await accounts.has_registered(password=password)
        return
    with pytest.raises(Invalid) as refused:
        await accounts.has_registered(password=password)
    assert list(refused.value.details) == ["password"]
    assert not accounts.users()


async def test_password_is_hashed_in_nfkc(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered(password="ｐａｓｓｗｏｒｄ")
    assert accounts.password_hash(user.id) == "new password"


@pytest.mark.parametrize(
    "password",
    [
        "fourteen chars",
        "p" * 15,
        "passwordpassword",
        "passwordpassword1",
        "qwertyuiop123456",
        "abcabcabcabcabcabc",
        "ada lovelace 123",
        "ada@example.com ada",
    ],
)
async def test_strict_policy_rejects_short_and_easily_guessed_passwords(
    accounts: AccountUseCases, password: str
) -> None:
    strict = accounts.register(policy=PasswordPolicy.STRICT)
    with pytest.raises(Invalid) as refused:
        await strict(a_registration(password=password), address=ADDRESS)
    assert list(refused.value.details) == ["password"]
    await accounts.register()(a_registration(password=password), address=ADDRESS)


async def test_name_is_trimmed_and_must_be_visible(accounts: AccountUseCases) -> None:
    assert (await accounts.has_registered(name="  Ada ")).name == "Ada"
    with pytest.raises(Invalid) as refused:
        await accounts.has_registered(email="other@example.com", name="  ")
    assert list(refused.value.details) == ["name"]


# Facilitators


async def test_facilitator_gets_a_profile_with_bio_and_specialization(accounts: AccountUseCases) -> None:
    user = await accounts.has_registered(role=Role.FACILITATOR, bio="Teaches\nyoga", specialization=" Yoga ")
    assert user.role is Role.FACILITATOR
    assert accounts.profiles() == {user.id: ProfileRow("Teaches\nyoga", "Yoga")}


async def test_user_gets_no_profile(accounts: AccountUseCases) -> None:
    await accounts.has_registered(bio="Not a facilitator")
    assert not accounts.profiles()


async def test_facilitator_who_needs_approval_registers_as_user_with_requested_role(
    accounts: AccountUseCases,
) -> None:
    register = accounts.register(facilitators=FacilitatorRegistration.APPROVAL)
    user = await register(a_registration(role=Role.FACILITATOR, bio="Yoga"), address=ADDRESS)

    assert (user.role, user.requested_role) == (Role.USER, Role.FACILITATOR)
    assert accounts.profiles() == {user.id: ProfileRow("Yoga", None)}


async def test_user_needs_no_approval(accounts: AccountUseCases) -> None:
    register = accounts.register(facilitators=FacilitatorRegistration.APPROVAL)
    assert (await register(a_registration(), address=ADDRESS)).requested_role is None


async def test_closed_registration_rejects_facilitators_only(accounts: AccountUseCases) -> None:
    register = accounts.register(facilitators=FacilitatorRegistration.CLOSED)
    with pytest.raises(FacilitatorRegistrationClosed):
        await register(a_registration(role=Role.FACILITATOR), address=ADDRESS)
    assert not accounts.users()
    await register(a_registration(), address=ADDRESS)


async def test_operator_creates_facilitators_in_any_case(accounts: AccountUseCases) -> None:
    create = CreateAccount(
        accounts.units, accounts.hasher, accounts.limiter, accounts.wake_ups, accounts.clock, PasswordPolicy.CONTRACT
    )
    assert (await create(a_registration(role=Role.FACILITATOR), address="local")).role is Role.FACILITATOR


# Limits


async def register_until_refused(accounts: AccountUseCases, *, emails: list[str], addresses: list[str]) -> int:
    """The number of registrations before `TooManyRequests`; other refusals count."""
    for number, (email, address) in enumerate(zip(emails, addresses, strict=True)):
        try:
            await accounts.register()(a_registration(email=email), address=address)
        except TooManyRequests:
            return number
        except EmailTaken:
            pass
    return len(emails)


async def test_registrations_are_limited_per_email(accounts: AccountUseCases) -> None:
    addresses = [f"192.0.2.{number}" for number in range(20)]
    allowed = await register_until_refused(accounts, emails=[EMAIL] * 20, addresses=addresses)
    assert allowed == REGISTRATIONS_PER_ACCOUNT.times == 10

    await accounts.has_registered(email="another@example.com")
    accounts.clock.advance(timedelta(hours=1))
    with pytest.raises(EmailTaken):
        await accounts.has_registered()


async def test_registrations_are_limited_per_network(accounts: AccountUseCases) -> None:
    emails = [f"user{number}@example.com" for number in range(250)]
    networks = [f"2001:db8::{number:x}" for number in range(250)]
    allowed = await register_until_refused(accounts, emails=emails, addresses=networks)
    assert allowed == REGISTRATIONS_PER_ADDRESS.times == 200

    await accounts.register()(a_registration(), address="2001:db8:0:1::1")


async def test_invalid_registration_does_not_count(accounts: AccountUseCases) -> None:
    for _ in range(REGISTRATIONS_PER_ACCOUNT.times + 1):
        with pytest.raises(Invalid):
            await accounts.has_registered(password="short")
    await accounts.has_registered()


# Repeated requests


async def test_registration_that_is_repeated_after_a_crash_returns_the_same_account(
    accounts: AccountUseCases,
) -> None:
    answers: list[User] = []
    for _ in range(2):
        with request_under(await claim_after_a_crash(accounts.store, accounts.clock)):
            answers.append(await accounts.has_registered())
    assert accounts.users() == [answers[0]] == [answers[1]]


async def test_registration_with_login_issues_tokens(accounts: AccountUseCases) -> None:
    logged_in = await accounts.register_and_log_in()(a_registration(), address=ADDRESS)

    assert accounts.users() == [logged_in.user]
    assert (await accounts.is_authenticated(logged_in)).user == logged_in.user
    assert len(accounts.networks_of(logged_in.user)) == 1


async def test_rejected_registration_with_login_starts_no_login(accounts: AccountUseCases) -> None:
    await accounts.has_registered()
    with pytest.raises(EmailTaken):
        await accounts.register_and_log_in()(a_registration(), address=ADDRESS)
    assert not accounts.end_reasons()


async def test_registration_with_login_that_is_repeated_after_a_crash_logs_in(accounts: AccountUseCases) -> None:
    answers = []
    for _ in range(2):
        with request_under(await claim_after_a_crash(accounts.store, accounts.clock)):
            answers.append(await accounts.register_and_log_in()(a_registration(), address=ADDRESS))
    assert accounts.users() == [answers[0].user] == [answers[1].user]
    assert answers[0].access_token != answers[1].access_token
    for answer in answers:
        await accounts.is_authenticated(answer)


async def test_repeated_registration_with_another_password_does_not_log_in(accounts: AccountUseCases) -> None:
    with request_under(await claim_after_a_crash(accounts.store, accounts.clock)):
        await accounts.register_and_log_in()(a_registration(), address=ADDRESS)
    with (
        request_under(await claim_after_a_crash(accounts.store, accounts.clock)),
        pytest.raises(InvalidCredentials),
    ):
        await accounts.register_and_log_in()(a_registration(password="another one"), address=ADDRESS)
