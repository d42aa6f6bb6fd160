"""The description of the API: one OpenAPI 3.1 document made from the routes, and the pages that show it.

Litestar draws paths, parameters and schemas from the handlers' types. This package adds what types do not say, by rules
from what is declared anyway: who may call an operation and what it refuses (guards, use cases, path ids), its
description (the use case's docstring), and an example of each answer (`examples.json`, recorded from a running API by
`python -m tests.support.examples`).
"""

from interfaces.http.openapi.document import document
from interfaces.http.openapi.plugin import PLUGINS, openapi_config

__all__ = ["PLUGINS", "document", "openapi_config"]
