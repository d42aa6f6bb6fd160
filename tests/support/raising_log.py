"""The services with a log that blocks and raises where standard error does, as with Python's own stream handler.

`python -m tests.support.raising_log crm serve …`, otherwise with the arguments of `convene`. Only tests can start it.
"""

import sys

from servicekit import logging


class _Unguarded:
    def write(self, line: str) -> None:
        sys.stderr.write(line)
        sys.stderr.flush()


if __name__ == "__main__":
    logging._STDERR = _Unguarded()  # type: ignore[assignment]
    if sys.argv[1] == "crm":
        from crm.__main__ import main as crm

        sys.exit(crm(sys.argv[2:]))
    from interfaces.cli import main

    main()
