"""Large pages: the event loop runs other tasks between building the items and encoding them."""

import asyncio
from typing import Any

from litestar import Response
from msgspec import Struct

LARGE = 100
"""Items. 500 events with descriptions of 27 KB take about 25 ms to build, and 20 ms to encode."""


async def pause_before_encoding(response: Response[Any]) -> Response[Any]:
    content = response.content
    values = (
        [getattr(content, name) for name in content.__struct_fields__] if isinstance(content, Struct) else [content]
    )
    if any(isinstance(value, list) and len(value) > LARGE for value in values):
        await asyncio.sleep(0)
    return response
