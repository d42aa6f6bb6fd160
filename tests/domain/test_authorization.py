"""The rights of owners, organisers and admins."""

import re
from pathlib import Path
from uuid import UUID

import pytest

import domain
from domain.accounts import Role, UserId
from domain.authorization import is_admin, is_organiser, is_owner, require_organiser, require_owner
from domain.errors import Forbidden
from tests.domain.builders import a_user


class Refused(Forbidden):
    code = "refused_in_a_test"
    message = "Refused"


OWNER = UserId(1)


@pytest.mark.parametrize(
    ("user", "admin", "owner", "organiser"),
    [
        (a_user(1, Role.USER), False, True, False),
        (a_user(1, Role.FACILITATOR), False, True, True),
        (a_user(1, Role.ADMIN), True, True, True),
        (a_user(2, Role.USER), False, False, False),
        (a_user(2, Role.FACILITATOR), False, False, False),
        (a_user(2, Role.ADMIN), True, True, True),
    ],
)
def test_rights_by_role_and_ownership(user, admin, owner, organiser) -> None:  # type: ignore[no-untyped-def]
    assert is_admin(user) is admin
    assert is_owner(user, OWNER) is owner
    assert is_owner(user, UUID(int=1)) is owner
    assert is_owner(user, UserId(7), OWNER) is owner
    assert is_organiser(user, OWNER) is organiser


def test_missing_right_raises_the_error_of_the_caller() -> None:
    require_owner(a_user(1), OWNER, error=Refused)
    require_organiser(a_user(1, Role.FACILITATOR), OWNER, error=Refused)
    with pytest.raises(Refused):
        require_owner(a_user(2), OWNER, error=Refused)
    with pytest.raises(Refused):
        require_organiser(a_user(1), OWNER, error=Refused)


def test_user_owns_nothing_without_owners() -> None:
    assert not is_owner(a_user(1))


def test_no_other_module_compares_a_role_with_admin() -> None:
    source = Path(domain.__path__[0]).parent
    comparisons = re.compile(r'(?:is|is not|==|!=) (?:Role\.ADMIN|"admin")')
    found = {path.name for path in source.rglob("*.py") if comparisons.search(path.read_text(encoding="utf-8"))}
    assert found == {"authorization.py"}
