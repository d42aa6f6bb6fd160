"""How the description joins the application."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from litestar import Router
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from interfaces.http.documentation.pages import ROUTES
from interfaces.http.documentation.schema_names import schema_name

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.routes import BaseRoute
    from litestar.types import ControllerRouterHandler


def openapi_config() -> OpenAPIConfig:
    """Makes Litestar draw what `document` finishes, and serve our pages."""
    return OpenAPIConfig(title="Convene", version="", openapi_router=_Pages(path="/docs", route_handlers=ROUTES))


class DecimalAsNumber(OpenAPISchemaPlugin):
    """Amounts are JSON numbers at the edge; Litestar would call them strings."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        return value is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:  # noqa: ARG002
        return Schema(type=OpenAPIType.NUMBER)


class NamedStructs(StructSchemaPlugin):
    """Gives each struct's schema its name as title. Litestar's own is the class's name, which may be another's too."""

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:
        schema = super().to_openapi_schema(field_definition, schema_creator)
        schema.title = schema_name(field_definition.annotation)
        return schema


class NamedEnums(OpenAPISchemaPlugin):
    """The same for enums, whose schemas are shared by all fields: none gets the default of the first field."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        return field_definition.is_enum

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Any:
        plain = FieldDefinition.from_annotation(field_definition.annotation)
        reference = schema_creator.for_enum_field(plain)
        schema = schema_creator.schema_registry.get_schema_for_field_definition(plain)
        schema.title = schema_name(plain.annotation)
        return reference


class _Pages(Router):
    """Keeps out the pages that Litestar adds, which load their assets from outside."""

    def register(self, value: "ControllerRouterHandler") -> "list[BaseRoute]":
        return super().register(value) if any(value is page for page in ROUTES) else []


PLUGINS = (DecimalAsNumber(), NamedStructs(), NamedEnums())
