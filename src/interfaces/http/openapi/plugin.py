"""Integration of the API's description into Litestar."""

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec
from litestar import Router
from litestar._openapi.schema_generation.plugins.struct import StructSchemaPlugin
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import OpenAPIType, Reference, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from interfaces.http.injection import Providers
from interfaces.http.openapi.pages import ROUTES
from interfaces.http.openapi.schema_names import schema_name
from interfaces.http.schemas import ONE_OF

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.routes import BaseRoute
    from litestar.types import ControllerRouterHandler


def openapi_config(providers: Providers) -> OpenAPIConfig:
    """Configures Litestar to generate the schemas that `document` completes, and to serve the pages of this package."""
    return OpenAPIConfig(title="Convene", version="", openapi_router=_Pages(providers.bind(ROUTES)))


class DecimalAsNumber(OpenAPISchemaPlugin):
    """Amounts are JSON numbers in HTTP; Litestar would describe them as strings."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        return value is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:  # noqa: ARG002
        return Schema(type=OpenAPIType.NUMBER)


class NamedStructs(StructSchemaPlugin):
    """Titles each struct's schema by `schema_names`. Litestar uses the class name, which several classes may have."""

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:
        schema = super().to_openapi_schema(field_definition, schema_creator)
        schema.title = schema_name(field_definition.annotation)
        properties = schema.properties or {}
        fields = {field.encode_name: field for field in msgspec.structs.fields(field_definition.annotation)}
        for name, annotation in get_type_hints(field_definition.annotation, include_extras=True).items():
            values = _values(annotation)
            if values is not None:
                properties[name] = _enumeration(schema_creator, values, annotation, fields[name].default)
        return schema


def _values(annotation: Any) -> type[StrEnum] | None:
    """The values of a string that is annotated by `one_of`, also inside a union."""
    for part in get_args(annotation):
        if isinstance(part, msgspec.Meta) and part.extra and ONE_OF in part.extra:
            found: type[StrEnum] = part.extra[ONE_OF]
            return found
        if (values := _values(part)) is not None:
            return values
    return None


def _enumeration(creator: "SchemaCreator", values: type[StrEnum], annotation: Any, default: Any) -> Schema | Reference:
    """Litestar's schema of a field of the enum's type, with the default that Litestar omits."""
    optional = values | None if type(None) in get_args(annotation) else values
    reference = creator.for_field_definition(FieldDefinition.from_annotation(optional))
    return Schema(all_of=[reference], default=default) if isinstance(default, str) else reference


class NamedEnums(OpenAPISchemaPlugin):
    """The same for enums. All fields share the schema of an enum, so it does not get the default of the first field."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        return field_definition.is_enum

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Any:
        plain = FieldDefinition.from_annotation(field_definition.annotation)
        reference = schema_creator.for_enum_field(plain)
        schema = schema_creator.schema_registry.get_schema_for_field_definition(plain)
        schema.title = schema_name(plain.annotation)
        return reference


class _Pages(Router):
    """Omits the pages that Litestar adds, because they load assets from other hosts."""

    def __init__(self, pages: list[HTTPRouteHandler]) -> None:
        self._pages = pages
        super().__init__(path="/docs", route_handlers=pages)

    def register(self, value: "ControllerRouterHandler") -> "list[BaseRoute]":
        return super().register(value) if any(value is page for page in self._pages) else []


PLUGINS = (DecimalAsNumber(), NamedStructs(), NamedEnums())
