"""How the description joins the application."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin

from interfaces.http.documentation.pages import ROUTES

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.routes import BaseRoute
    from litestar.types import ControllerRouterHandler
    from litestar.typing import FieldDefinition


def openapi_config() -> OpenAPIConfig:
    """Makes Litestar draw what `document` finishes, and serve our pages."""
    return OpenAPIConfig(title="Convene", version="", openapi_router=_Pages(path="/docs", route_handlers=ROUTES))


class DecimalAsNumber(OpenAPISchemaPlugin):
    """Amounts are JSON numbers at the edge; Litestar would call them strings."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        return value is Decimal

    def to_openapi_schema(self, field_definition: "FieldDefinition", schema_creator: "SchemaCreator") -> Schema:  # noqa: ARG002
        return Schema(type=OpenAPIType.NUMBER)


class _Pages(Router):
    """Keeps out the pages that Litestar adds, which load their assets from outside."""

    def register(self, value: "ControllerRouterHandler") -> "list[BaseRoute]":
        return super().register(value) if any(value is page for page in ROUTES) else []
