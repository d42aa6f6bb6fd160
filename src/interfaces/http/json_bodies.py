"""JSON bodies of requests, read strictly: the framework itself accepts `1.0` and `1e3` as integers."""

from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ValidationException

from servicekit.json_values import convert


class StrictRequest(Request[Any, Any, Any]):
    async def json(self) -> Any:
        """The body, validated against the type of the handler's parameter. Raises `ValidationException`."""
        body = await super().json()
        data = self.route_handler.parsed_fn_signature.parameters.get("data")
        if data is not None:
            try:
                convert(body, data.annotation, integers_as_text=True)
            except msgspec.ValidationError as error:
                reason, _, path = str(error).partition(" - at `$")
                key = path.rstrip("`").lstrip(".") or "body"
                raise ValidationException(extra=[{"message": reason, "key": key}]) from error
        return body
