"""The tools of `script/tools`, which `script/test` fetches while the first tests run."""

import os
import sys
import time
from pathlib import Path

TOOLS = Path(sys.prefix) / "tools"
_SECONDS = 150


def fetched(name: str) -> Path:
    """The path of a tool below `.venv/tools`, once `script/test` has fetched all; it may not exist."""
    marker = os.environ.get("TOOLS_FETCHED")
    until = time.monotonic() + _SECONDS
    while marker and not Path(marker).exists() and time.monotonic() < until:
        time.sleep(0.1)
    return TOOLS / name
