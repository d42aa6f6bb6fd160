"""Visitors of the pages without a browser: cookies, forms and redirects."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape

import httpx

from tests.support.people import PASSWORD, Person

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
_FORM = re.compile(r'<form[^>]* method="post" action="([^"]+)">(.*?)</form>', re.DOTALL)


@dataclass
class Visitor:
    """`api` keeps the cookies and follows no redirect."""

    api: httpx.AsyncClient

    async def page(self, path: str, status: int = 200) -> str:
        answer = await self.api.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    async def send(self, path: str, action: str, **fields: str) -> httpx.Response:
        """Sends the form with that action of the page, with its hidden fields."""
        forms = {unescape(target): content for target, content in _FORM.findall(await self.page(path))}
        hidden = {name: unescape(value) for name, value in _HIDDEN.findall(forms[action])}
        return await self.api.post(action, data=hidden | fields)

    async def log_in(self, person: Person, path: str = "/log-in") -> httpx.Response:
        return await self.send(path, "/log-in", email=person.email, password=PASSWORD)


@contextlib.asynccontextmanager
async def visiting(api: httpx.AsyncClient) -> AsyncIterator[Visitor]:
    """A visitor of the application that this client calls."""
    async with httpx.AsyncClient(base_url=api.base_url, timeout=60) as own:
        yield Visitor(own)
