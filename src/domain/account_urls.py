"""The pages of the links in mails about accounts."""

from dataclasses import dataclass
from urllib.parse import quote

TOKEN = "{token}"  # noqa: S105 (a placeholder)


@dataclass(frozen=True, slots=True)
class AccountUrls:
    """`public_url` is the address of the API, which has a page of its own for each link without a template. A template
    is an absolute web address with `TOKEN` after its host."""

    public_url: str
    verify_template: str | None = None
    reset_template: str | None = None
    change_template: str | None = None
    undo_template: str | None = None

    def verify(self, token: str) -> str:
        return self._url(self.verify_template, "verify-email", token)

    def reset(self, token: str) -> str:
        return self._url(self.reset_template, "reset-password", token)

    def change_email(self, token: str) -> str:
        return self._url(self.change_template, "change-email", token)

    def undo_email_change(self, token: str) -> str:
        return self._url(self.undo_template, "undo-email-change", token)

    def _url(self, template: str | None, page: str, token: str) -> str:
        template = template or f"{self.public_url.rstrip('/')}/{page}/{TOKEN}"
        return template.replace(TOKEN, quote(token, safe=""))
