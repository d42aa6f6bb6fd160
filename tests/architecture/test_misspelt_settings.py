"""A misspelt setting in `.env` is named with the one that was meant."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interfaces.cli.env_file import misspelt_lines, misspelt_names, setting_names
from tests.architecture.test_settings_listed import listed
from tests.support.command import convene


def test_known_names_are_those_of_the_example_file() -> None:
    assert setting_names() == set(listed())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SMTP_ULR", "SMTP_URL"),
        ("smtp_url", "SMTP_URL"),
        ("JWT_SECRET", "JWT_SECRET_KEY"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("DELIVERY_SIGNING_SECRET", "DELIVERY_SIGNING_SECRETS"),
        ("CRM_DATABSE_URL", "CRM_DATABASE_URL"),
        ("JWT_SECRET_KEE_FILE", "JWT_SECRET_KEY_FILE"),
    ],
)
def test_misspelt_name_is_paired_with_the_nearest_setting(name: str, meant: str) -> None:
    assert list(misspelt_names([name])) == [(name, meant)]


@given(st.sampled_from(sorted(setting_names())), st.data())
def test_swapped_letters_are_detected_in_every_name(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 2))
    typed = name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    if typed not in setting_names():
        assert [found for found, _ in misspelt_names([typed])] == [typed]


def test_known_names_and_names_of_other_programs_are_ignored() -> None:
    others = ["POSTGRES_PASSWORD", "COMPOSE_PROJECT_NAME", "API_DATABASE_PASSWORD", "CRM_DATABASE_PASSWORD", "TZ"]
    assert list(misspelt_names([*setting_names(), "SMTP_URL_FILE", "CRM_DATABASE_URL_FILE", *others])) == []


def test_missing_file_has_no_misspelt_settings(tmp_path: Path) -> None:
    assert misspelt_lines(tmp_path / ".env") == []


def test_command_reports_misspelt_setting_on_stderr_and_runs(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SMTP_ULR=smtp://mail.example.com\n")
    done = convene("openapi", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == (
        "convene: .env sets SMTP_ULR, which is no setting and has no effect: did you mean SMTP_URL?\n"
    )
