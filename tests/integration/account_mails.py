"""Accounts over HTTP, and the mails that a worker has written for them."""

import re
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from uuid import uuid4

import httpx

from domain.outbox import Destination
from infrastructure import container
from infrastructure.settings import Settings
from tests.support.messages import deliver_due
from tests.support.people import PASSWORD

BROWSER = {"Accept": "text/html"}


@dataclass
class Mails:
    """What a worker sends, with the settings of the API."""

    settings: Settings

    async def to(self, address: str) -> list[EmailMessage]:
        """Delivers what is due; all mails to this address, the oldest first."""
        parts = container.build_deliveries(self.settings)
        try:
            await deliver_due(parts.deliver_due, Destination.EMAIL)
        finally:
            await parts.close()
        files = sorted((self.settings.convene_data / "mail").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
        mails = [message_from_bytes(path.read_bytes(), policy=default) for path in files]
        return [mail for mail in mails if address in str(mail["To"])]

    async def link_to(self, address: str, page: str = "verify-email") -> str:
        """The path of the newest link to this page."""
        text = "".join(map(text_of, await self.to(address)))
        link: str = re.findall(rf"{re.escape(self.settings.public_url)}(/{page}/\S+)", text)[-1]
        return link

    async def token_to(self, address: str, page: str = "verify-email") -> str:
        return (await self.link_to(address, page)).rpartition("/")[2]


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


@dataclass
class Account:
    api: httpx.AsyncClient
    email: str

    async def logs_in(self, password: str = PASSWORD) -> httpx.Response:
        return await self.api.post("/auth/login", json={"email": self.email, "password": password})

    async def headers(self, password: str = PASSWORD) -> dict[str, str]:
        answer = await self.logs_in(password)
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    async def is_verified(self, password: str = PASSWORD) -> bool:
        profile = await self.api.get("/profile", headers=await self.headers(password))
        return bool(profile.json()["is_verified"])


async def registered(api: httpx.AsyncClient) -> Account:
    email = f"{uuid4()}@example.com"
    answer = await api.post("/auth/register", json={"email": email, "password": PASSWORD, "name": "Ada"})
    assert answer.status_code == 201, answer.text
    return Account(api, email)
