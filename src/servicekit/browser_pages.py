"""HTML pages for addresses of an API in a browser: the start page, and pages instead of JSON errors.

Programs get the application's response. A request is one of a browser if its Accept header prefers text/html to
application/json; `*/*` alone does not.
"""

import base64
import hashlib
import html
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

STYLE = """
:root { color-scheme: light dark }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #f4f3ef; color: #23302b;
       font: 17px/1.5 system-ui, sans-serif }
main { background: #fff; border-radius: 14px; border-top: 6px solid #2f6f5e; padding: 32px 40px; max-width: 30rem }
h1 { font-size: 1.3rem; margin: 0 0 .5rem }
a { color: #1f5f4e }
.note { color: #5a6761; font-size: .85rem; overflow-wrap: anywhere }
@media (prefers-color-scheme: dark) {
  body { background: #141917; color: #dfe6e2 }
  main { background: #1f2623 }
  a { color: #7fd1b9 }
  .note { color: #a3b0aa }
}
"""


def policy_for(style: str, *, form: bool = False) -> str:
    """A Content-Security-Policy for a page with that style element, which allows nothing else to be loaded or sent.
    `form`: the page has a form, which is sent to its own origin."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    targets = {"base-uri": "'none'", "form-action": "'self'" if form else "'none'", "frame-ancestors": "'none'"}
    rules = (f"{name} {target}" for name, target in targets.items())
    return "; ".join([f"default-src 'none'; style-src 'sha256-{digest}'", *rules])


POLICY = policy_for(STYLE)

_REPLACED = {b"content-type", b"content-length", b"content-security-policy", b"vary"}
_SENTENCES = {
    401: "This address is for programs that send an access token. The documentation shows how to get one.",
    403: "You are not allowed to open this address.",
    404: "There is nothing at this address.",
    503: "The service cannot answer at the moment. Please try again in a minute.",
}


class BrowserPages:
    """ASGI middleware. `links` (text by address) are on every page."""

    def __init__(self, app: App, title: str, links: Mapping[str, str]) -> None:
        self._app = app
        self._title = title
        self._links = links

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] == "http" and _may_prefer_html(scope["headers"]) and prefers_html(_accept(scope["headers"])):
            send = _Answer(self, send, is_root=scope["path"] == "/" and scope["method"] in {"GET", "HEAD"}).send
        await self._app(scope, receive, send)

    def page(self, status: int, body: Mapping[str, Any]) -> bytes:
        heading, lines = self._title, [str(body.get("message") or "")]
        if status >= 400:
            heading = _phrase(status)
            lines = [_SENTENCES.get(status, str(body.get("message") or body.get("error") or ""))]
        note = f"Request {body['request_id']}" if status >= 400 and body.get("request_id") else ""
        links = "".join(
            f'<li><a href="{html.escape(address)}">{html.escape(text)}</a></li>'
            for address, text in self._links.items()
        )
        text = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
        small = f'<p class="note">{html.escape(note)}</p>' if note else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(heading)} · {html.escape(self._title)}</title><style>{STYLE}</style></head>"
            f"<body><main><h1>{html.escape(heading)}</h1>{text}<ul>{links}</ul>{small}</main></body></html>\n"
        ).encode()


class _Answer:
    """Replaces a JSON response by a page; forwards every other response unchanged."""

    def __init__(self, pages: BrowserPages, send: Send, *, is_root: bool) -> None:
        self._pages = pages
        self._send = send
        self._is_root = is_root
        self._start: dict[str, Any] | None = None
        self._body = bytearray()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and self._is_replaced(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_page(self._start)

    def _is_replaced(self, start: Any) -> bool:
        headers = dict(start.get("headers", ()))
        is_json = headers.get(b"content-type", b"").partition(b";")[0].strip() == b"application/json"
        return is_json and (start["status"] >= 400 or (self._is_root and start["status"] == 200))

    async def _send_page(self, start: dict[str, Any]) -> None:
        try:
            body = msgspec.json.decode(self._body, type=dict[str, Any])
        except msgspec.DecodeError:
            body = {}
        page = self._pages.page(start["status"], body)
        headers = [(name, value) for name, value in start["headers"] if name.lower() not in _REPLACED]
        headers += [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(page)).encode()),
            (b"content-security-policy", POLICY.encode()),
            (b"vary", b"Accept"),
        ]
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": page, "more_body": False})


def prefers_html(accept: str) -> bool:
    """Whether text/html is listed with a higher quality than application/json (RFC 9110, 12.5.1)."""
    qualities = dict(map(_media_range, accept.split(",")))
    wanted = qualities.get("text/html", 0.0)
    json = next((qualities[name] for name in ("application/json", "application/*", "*/*") if name in qualities), 0.0)
    return wanted > json or (wanted > 0 and wanted == json and "application/json" not in qualities)


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return name, min(max(float(quality), 0.0), 1.0)
    except ValueError:
        return name, 0.0


def _may_prefer_html(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """False for most programs, without a closer look."""
    return any(name.lower() == b"accept" and b"text/html" in value.lower() for name, value in headers)


def _accept(headers: Sequence[tuple[bytes, bytes]]) -> str:
    return ",".join(value.decode("latin-1") for name, value in headers if name.lower() == b"accept")


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
