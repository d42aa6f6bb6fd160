"""Files that pages load: style sheet, scripts, logo. Their addresses have a hash of the content, so that browsers keep
them for a year."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from litestar import Response, get
from litestar.params import FromPath

from domain.errors import NotFound
from interfaces.http.authentication import public
from interfaces.http.injection import Inject
from servicekit.colours import colour, hexadecimal, lightened

_FILES = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
}
_DARK_BACKGROUND = "#1f2623"
"""The lightest background of the dark theme in `static/style.css`."""
_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    # For a picture that is opened as a page: an SVG could have a script.
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class AssetNotFound(NotFound):
    code = "asset_not_found"
    message = "Asset not found"


@dataclass(frozen=True, slots=True)
class Asset:
    """`name` has the content's hash: `style.0123456789abcdef.css`."""

    name: str
    content: bytes
    media_type: str

    @classmethod
    def of(cls, file: str, content: bytes) -> "Asset":
        stem, _, ending = file.rpartition(".")
        digest = hashlib.sha256(content).hexdigest()[:16]
        return cls(f"{stem}.{digest}.{ending}", content, _TYPES[f".{ending}"])


class Assets:
    """All assets; read from disk at the first use. `colour`: `#rrggbb`."""

    def __init__(self, colour: str, logo: Path | None) -> None:
        self._colour = colour
        self._logo = logo

    @cached_property
    def style(self) -> Asset:
        """The style sheet with the organisation's colour, and a lighter one for the dark theme."""
        dark = hexadecimal(lightened(colour(self._colour), colour(_DARK_BACKGROUND)))
        text = (_FILES / "style.css").read_text("utf-8")
        themes = f":root {{ --accent: light-dark({self._colour}, {dark}) }}\n"
        return Asset.of("style.css", (text + themes).encode())

    @cached_property
    def icon(self) -> Asset:
        """The picture of the browser's tab, in the organisation's colour."""
        return Asset.of("icon.svg", (_FILES / "icon.svg").read_text("utf-8").replace("ACCENT", self._colour).encode())

    @cached_property
    def logo(self) -> Asset | None:
        if self._logo is None:
            return None
        return Asset.of(f"logo{self._logo.suffix.lower()}", self._logo.read_bytes())

    @cached_property
    def scripts(self) -> tuple[Asset, ...]:
        return tuple(Asset.of(path.name, path.read_bytes()) for path in sorted(_FILES.glob("*.js")))

    @cached_property
    def _by_name(self) -> dict[str, Asset]:
        found: Iterable[Asset | None] = (self.style, self.icon, self.logo, *self.scripts)
        return {asset.name: asset for asset in found if asset is not None}

    def get(self, name: str) -> Asset:
        """Raises `AssetNotFound`."""
        if name not in self._by_name:
            raise AssetNotFound
        return self._by_name[name]


@get("/assets/{name:str}", operation_id="getAsset", include_in_schema=False, opt=public)
async def show_asset(name: FromPath[str], assets: Inject[Assets]) -> Response[bytes]:
    asset = assets.get(name)
    return Response(asset.content, media_type=asset.media_type, headers=_HEADERS)


ROUTES = [show_asset]
