"""Rendering of the pages: layout, language, time zone, security headers, errors."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from litestar import MediaType, Request, Response

from interfaces.http.authentication import public
from interfaces.http.errors import PAGE, ErrorResponse
from interfaces.http.web.assets import Assets
from interfaces.http.web.languages import Language, language
from servicekit.local_times import iana_zone, reading_zone

if TYPE_CHECKING:
    from jinja2 import Environment

AnyRequest = Request[Any, Any, Any]

public_page = {**public, PAGE: True}
"""Marks pages for everyone."""

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

    def __init__(self, organisation: Organisation, assets: Assets, default_language: str, base: str) -> None:
        self._organisation = organisation
        self.assets = assets
        self._default_language = default_language
        self._base = base

    def visitor(self, request: AnyRequest) -> Visitor:
        spoken = language(request.headers.get("accept-language", ""), self._default_language)
        return Visitor(spoken, iana_zone(request.cookies.get(ZONE_COOKIE, "")))

    def address(self, path: str, **parameters: object) -> str:
        """The address of a page, with these query parameters except for those that are None or empty."""
        given = {name: value for name, value in parameters.items() if value not in {None, ""}}
        return f"{self._base}{path}" + (f"?{urlencode(given)}" if given else "")

    def show(self, request: AnyRequest, template: str, *, status: int = 200, **values: Any) -> Response[str]:
        """The page of a template, in the visitor's language."""
        visitor = self.visitor(request)
        environment = _environment(visitor.language)
        text = environment.get_template(template).render(
            organisation=self._organisation,
            assets=self.assets,
            address=self.address,
            language=visitor.language,
            visitor=visitor,
            **values,
        )
        headers = _HEADERS | {"Content-Language": visitor.language.tag}
        return Response(text, status_code=status, headers=headers, media_type=MediaType.HTML)

    def error(self, request: AnyRequest, response: ErrorResponse) -> Response[str]:
        """The page of an error. Its text depends on the status alone."""
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
        page = self.show(request, "error.html", status=response.status, heading=heading, sentence=sentence)
        page.headers.update(response.headers)
        return page
