"""How a handler asks for what it calls."""

from typing import Annotated, TypeAlias, TypeVar

from litestar.di import Dependency
from litestar.params import SkipValidationMarker

T = TypeVar("T")

Inject: TypeAlias = Annotated[T, Dependency(), SkipValidationMarker()]
"""A use case or a reader, found by the parameter's name. It comes from the composition root, so it is not checked
again at every request (a port, being a Protocol, could not be)."""
