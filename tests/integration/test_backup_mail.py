"""Mail files of a backup: copied with their directories, restored inside their directory only."""

import io
import tarfile
from pathlib import Path

import pytest

from infrastructure.backup.errors import BackupError
from infrastructure.backup.files import copy_mail, restore_mail


def test_mail_files_are_restored_also_over_older_ones(tmp_path: Path) -> None:
    mail, restored, backup = tmp_path / "mail", tmp_path / "restored", tmp_path / "backup"
    (mail / "old").mkdir(parents=True)
    (mail / "one.eml").write_text("Subject: One\n")
    (mail / "old" / "two.eml").write_text("Subject: Two\n")
    backup.mkdir()
    copied = copy_mail(mail, backup, "mail.tar.gz")
    assert copied is not None
    for _ in range(2):
        restore_mail(backup / copied.name, restored)
    files = {path.relative_to(restored).as_posix(): path.read_text() for path in restored.rglob("*.eml")}
    assert files == {"one.eml": "Subject: One\n", "old/two.eml": "Subject: Two\n"}
    assert {path.stat().st_mode & 0o777 for path in restored.rglob("*.eml")} == {0o600}


@pytest.mark.parametrize("name", ["../outside.eml", "/outside.eml", "old/../../outside.eml"])
def test_entry_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "mail.tar.gz"
    with tarfile.open(archive, "w:gz") as files:
        entry = tarfile.TarInfo(name)
        entry.size = 5
        files.addfile(entry, io.BytesIO(b"hello"))
    with pytest.raises(BackupError, match="an entry that is not a mail"):
        restore_mail(archive, tmp_path / "restored")
    assert not (tmp_path / "outside.eml").exists()


def test_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "mail.tar.gz"
    with tarfile.open(archive, "w:gz") as files:
        entry = tarfile.TarInfo("link.eml")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        files.addfile(entry)
    with pytest.raises(BackupError, match="an entry that is not a mail"):
        restore_mail(archive, tmp_path / "restored")
