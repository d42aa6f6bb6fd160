"""The environment a command works with: what is given, else what the running system told."""

import os
from pathlib import Path

from infrastructure.embedded.data_directory import running_environ


def data_directory() -> Path:
    """CONVENE_DATA, by default `var/` in the current directory."""
    return Path(os.environ.get("CONVENE_DATA") or "var").absolute()


def command_environ() -> dict[str, str]:
    """The process's environment (`.env` included) over the settings of the system that runs in the data directory."""
    given = {name: value for name, value in os.environ.items() if value}
    running = running_environ(data_directory())
    for name in list(running):
        if f"{name}_FILE" in given:
            del running[name]
    return running | given
