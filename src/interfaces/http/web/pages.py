"""Rendering of the pages: layout, language, time zone, security headers, errors."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from litestar import MediaType, Request, Response
from litestar.response import Redirect

from application.accounts.sessions import Actor
from interfaces.http.errors import ErrorResponse
from interfaces.http.web.assets import Assets
from interfaces.http.web.languages import Language, language
from interfaces.http.web.page_sessions import FormTokens
from interfaces.http.web.problems import sentence_of
from servicekit.local_times import iana_zone, reading_zone

if TYPE_CHECKING:
    from jinja2 import Environment

AnyRequest = Request[Any, Any, Any]

ZONE_COOKIE = "time_zone"
"""Set by `static/time_zone.js`: the name of the browser's time zone."""

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "Vary": "Accept-Language, Cookie",
}


@dataclass(frozen=True, slots=True)
class Organisation:
    """Whose pages these are."""

    name: str
    imprint_url: str | None
    privacy_url: str | None


@dataclass(frozen=True, slots=True)
class Visitor:
    """`zone`: the browser's time zone, None if it is not known."""

    language: Language
    zone: ZoneInfo | None

    def zone_or(self, name: str | None) -> ZoneInfo:
        """The visitor's time zone, else the one of that name, else UTC."""
        return self.zone or reading_zone(name)


@functools.cache
def _environment(of: Language) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(of.texts, newstyle=True)  # type: ignore[attr-defined]
    return environment


class Pages:
    """`base`: the path of PUBLIC_URL, with which every address of a page begins."""

    def __init__(
        self, organisation: Organisation, assets: Assets, default_language: str, base: str, form_tokens: FormTokens
    ) -> None:
        self._organisation = organisation
        self.assets = assets
        self._default_language = default_language
        self._base = base
        self._form_tokens = form_tokens

    def visitor(self, request: AnyRequest) -> Visitor:
        spoken = language(request.headers.get("accept-language", ""), self._default_language)
        return Visitor(spoken, iana_zone(request.cookies.get(ZONE_COOKIE, "")))

    def address(self, path: str, **parameters: object) -> str:
        """The address of a page, with these query parameters except for those that are None or empty."""
        given = {name: value for name, value in parameters.items() if value not in {None, ""}}
        return f"{self._base}{path}" + (f"?{urlencode(given)}" if given else "")

    def show(
        self, request: AnyRequest, template: str, *, status: int = 200, has_form: bool = False, **values: Any
    ) -> Response[str]:
        """The page of a template, in the visitor's language. `has_form`: it has a form for visitors without a
        session."""
        visitor = self.visitor(request)
        actor: Actor | None = request.scope.get("user")
        form_token = cookie = None
        if has_form or actor is not None:
            form_token, cookie = self._form_tokens.token(request)
        environment = _environment(visitor.language)
        text = environment.get_template(template).render(
            organisation=self._organisation,
            assets=self.assets,
            address=self.address,
            language=visitor.language,
            visitor=visitor,
            user=None if actor is None else actor.user,
            form_token=form_token,
            sentence_of=functools.partial(sentence_of, gettext=visitor.language.gettext),
            **values,
        )
        headers = _HEADERS | {"Content-Language": visitor.language.tag}
        cookies = [] if cookie is None else [cookie]
        return Response(text, status_code=status, headers=headers, media_type=MediaType.HTML, cookies=cookies)

    def error(self, request: AnyRequest, response: ErrorResponse) -> Response[Any]:
        """The page of an error; without a session the page to log in, which leads back."""
        if response.status == 401:
            return Redirect(self.address("/log-in", next=_page_of(request)), status_code=303)
        gettext = self.visitor(request).language.gettext
        texts = {
            404: (gettext("This page does not exist"), gettext("It may have been removed, or the address is wrong.")),
            429: (gettext("Too many requests"), gettext("Please wait some minutes and try again.")),
        }
        if response.status >= 500:
            heading, sentence = gettext("We cannot answer at the moment"), gettext("Please try again in a minute.")
        else:
            other = gettext("This is not possible"), gettext("Please go back and try again.")
            heading, sentence = texts.get(response.status, other)
            sentence = sentence_of(response.code, gettext) or sentence
        page = self.show(request, "error.html", status=response.status, heading=heading, sentence=sentence)
        page.headers.update(response.headers)
        return page


def _page_of(request: AnyRequest) -> str:
    """The page that was asked for, or that has the form that was sent."""
    path: str = request.scope["path"]
    return path if request.method == "GET" or path.startswith("/book/") else "/me"
