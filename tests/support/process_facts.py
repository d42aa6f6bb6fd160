"""`python -m tests.support.process_facts <status> [fd]`: what a process knows of itself, as JSON; its exit status is
that given. Into the descriptor it writes `here`."""

import json
import os
import sys


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
        "open": [fd for fd in range(200) if is_open(fd)],
        "imported": "litestar" in sys.modules,
    }
    print(json.dumps(facts))
    for fd in sys.argv[2:]:
        os.write(int(fd), b"here")
    sys.exit(int(sys.argv[1]))
