"""What the tests save has no price elsewhere: applications do not stay, the product hashes as slowly as ever."""

import gc
from pathlib import Path

import pytest

from infrastructure.auth.passwords import RECOMMENDED, Argon2Passwords
from interfaces.http.app import create_app
from tests.support.settings import settings_for


# Takes 5 s: five applications, of which nothing is kept.
def test_application_is_garbage_collected(tmp_path: Path) -> None:
    settings = settings_for("postgresql://convene@127.0.0.1:1/convene", "redis://127.0.0.1:1", tmp_path)

    def objects_after(applications: int) -> int:
        for _ in range(applications):
            create_app(settings)
        gc.collect()
        return len(gc.get_objects())

    before = objects_after(2)
    assert objects_after(3) - before < 3_000


@pytest.mark.usefixtures("recommended_hashing")
async def test_production_passwords_are_hashed_with_the_recommended_cost() -> None:
    assert (RECOMMENDED.passes, RECOMMENDED.kib) == (2, 19_456)
    assert (await Argon2Passwords().hash("password123")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
