"""The API, ending without a word to those who keep a connection to it: `python -m tests.support.abrupt_shutdown <fd>`.

Only tests can start it. A test of the end that still passes against this one proves nothing.
"""

import socket
import sys

from interfaces.cli.server import serve
from interfaces.http.app import create_app
from servicekit.http_limits import HttpLimits

if __name__ == "__main__":
    serve(
        lambda _draining: create_app(),
        socket.socket(fileno=int(sys.argv[1])),
        drain=0.2,
        limits=HttpLimits(),
        log_level="warning",
    )
