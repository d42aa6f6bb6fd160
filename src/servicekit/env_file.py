"""The settings file `.env`: one reader for both services."""

from pathlib import Path

from dotenv import load_dotenv


class EnvFileError(Exception):
    """The file cannot be read. The message is one line that says what to do."""


def load_env_file(path: Path) -> None:
    """Puts the file's values into the environment; a variable that is set already wins. A missing file has no values.

    Raises `EnvFileError` for a file that is not UTF-8, may not be read, or has a value that no environment can hold.
    """
    try:
        load_dotenv(path, override=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except ValueError as error:  # os.environ takes no zero bytes
        raise EnvFileError(f"{path} has a value that cannot be set ({error}): remove the zero byte") from error
    except OSError as error:
        raise EnvFileError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
