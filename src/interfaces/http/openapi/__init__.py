"""The description of the API: one OpenAPI 3.1 document generated from the routes, and the pages that show it.

Litestar generates paths, parameters and schemas from the types of the handlers. This package derives the rest from
other declarations: authentication and errors of an operation (guards, use cases, path ids), its description (the use
case's docstring), and an example of each response (`examples.json`, recorded from a running API by
`python -m tests.support.examples`).
"""

from interfaces.http.openapi.document import document
from interfaces.http.openapi.plugin import PLUGINS, openapi_config

__all__ = ["PLUGINS", "document", "openapi_config"]
