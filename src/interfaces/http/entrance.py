"""The entrance of the API: requests are refused here while there are more than the process can answer in time."""

from collections.abc import Callable
from random import randint

from domain.errors import Overloaded
from interfaces.http.errors import CountError
from servicekit.admission import Admission

PROBES = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
_ALWAYS_ENTER = ("/payment/", "/admin/")
"""Prefixes of paths that always enter: the confirmations of payments, because a gateway repeats a refused one much
later, and the operator's paths, which are needed most under overload."""
_RETRY_SECONDS = 1, 3
"""The range of `Retry-After`, so that refused clients do not return at the same time."""


class Entrance:
    def __init__(self, admission: Admission, count_error: CountError) -> None:
        self._admission = admission
        self._count_error = count_error

    async def __call__(self, path: str) -> Callable[[], None]:
        """Returns what is called at the end of the request. Raises `Overloaded`."""
        if path not in PROBES and not path.startswith(_ALWAYS_ENTER) and not await self._admission.enter():
            self._count_error(Overloaded.code)
            raise Overloaded(retry_after=randint(*_RETRY_SECONDS))  # noqa: S311
        return self._admission.left
