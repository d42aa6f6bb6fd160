"""`.env`: what cannot be read is one line that says what to do, for every command of both services."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from servicekit.settings_reader import EnvFileError, load_env_file
from tests.support.command import bare_environ

UNREADABLE = {
    "Latin-1": ("ORGANISATION=Käthe\n".encode("latin-1"), "not UTF-8"),
    "UTF-16": ("API_PORT=5000\n".encode("utf-16"), "not UTF-8"),
    "zero byte": (b"API_PORT=50\x0000\n", "zero byte"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_file_is_an_error_with_its_path(tmp_path: Path, kind: str) -> None:
    content, why = UNREADABLE[kind]
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(EnvFileError, match=rf"^{tmp_path}/.env .*{why}"):
        load_env_file(tmp_path / ".env")


def test_byte_order_mark_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_NAME_OF_THIS_TEST", raising=False)
    (tmp_path / ".env").write_text("A_NAME_OF_THIS_TEST=value\n", encoding="utf-8-sig")
    load_env_file(tmp_path / ".env")
    assert os.environ.pop("A_NAME_OF_THIS_TEST") == "value"


def test_set_variable_takes_precedence_and_missing_file_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_NAME_OF_THIS_TEST", "set before")
    (tmp_path / ".env").write_text("A_NAME_OF_THIS_TEST=value\n")
    load_env_file(tmp_path / ".env")
    load_env_file(tmp_path / "missing")
    assert os.environ["A_NAME_OF_THIS_TEST"] == "set before"


@pytest.mark.parametrize("module", ["interfaces.cli", "crm"])
def test_both_commands_report_an_unreadable_file_in_one_line(tmp_path: Path, module: str) -> None:
    (tmp_path / ".env").write_bytes(UNREADABLE["Latin-1"][0])
    call = [sys.executable, "-m", module, "openapi"]
    done = subprocess.run(call, cwd=tmp_path, env=bare_environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and ".env is not UTF-8 text" in done.stderr
