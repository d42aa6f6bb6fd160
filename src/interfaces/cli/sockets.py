"""Listening sockets: bound once, passed to every serving process."""

import errno
import socket

from interfaces.cli.problems import Problem

_BACKLOG = 2048


def listen(host: str, port: int, option: str) -> socket.socket:
    """Binds and listens; port 0 selects a free one. Raises `Problem`, naming `option`, for a port in use."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise Problem(f"{host} is no address of this machine ({error.strerror})") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Problem(f"port {port} of {host} is taken: stop what uses it, or choose another {option}") from None
        raise Problem(f"cannot listen on {host} port {port} ({error.strerror}): choose another {option}") from None
    return listener


def adopt(fd: int) -> socket.socket:
    """The listening socket that the parent process has passed."""
    try:
        listener = socket.socket(fileno=fd)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise Problem(f"--fd {fd} is no listening socket ({error.strerror})") from None
    if not listening:
        raise Problem(f"--fd {fd} is a socket that does not listen")
    return listener
