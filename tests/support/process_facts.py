"""`python -m tests.support.process_facts <status> [fd]`: what a process knows of itself, as JSON; its exit status is
that given. Into the descriptor it writes `here`."""

import json
import os
import sys
from pathlib import Path


def shown(name: str) -> list[str]:
    """What other processes see of it: its command line or its environment."""
    of_process = Path(f"/proc/self/{name}")
    return [part.decode() for part in of_process.read_bytes().split(bytes(1)) if part] if of_process.exists() else []


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    facts = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "leads_session": os.getsid(0) == os.getpid(),
        "cwd": os.getcwd(),  # noqa: PTH109
        "environ": dict(os.environ),
        "arguments": sys.argv[1:],
        "shown": [shown("cmdline"), shown("environ")],
        "open": [fd for fd in range(200) if is_open(fd)],
        "imported": "litestar" in sys.modules,
    }
    print(json.dumps(facts))
    for fd in sys.argv[2:]:
        os.write(int(fd), b"here")
    sys.exit(int(sys.argv[1]))
