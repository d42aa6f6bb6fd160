"""Live updates for facilitators: a WebSocket and Server-Sent Events."""

from interfaces.http.live.sockets import follow_by_socket
from interfaces.http.live.streams import follow_by_stream

ROUTES = [follow_by_socket, follow_by_stream]
