"""What tests need not compute a thousand times over: trusted certificates, signatures of handlers, password hashes.

Each saving keeps what a function returned for the same arguments, or takes a parameter that is cheaper. Processes that
start as new interpreters have none of them.
"""

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import httpx
from httpx._transports import default as httpx_transports
from litestar._signature.model import SignatureModel
from litestar.di import Provide
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Empty
from litestar.utils.signature import ParsedSignature

from infrastructure.auth.passwords import RECOMMENDED, Argon2Passwords, Cost

_create_ssl_context = httpx.create_ssl_context


def save() -> None:
    """For an interpreter that makes many applications and clients."""
    _keep_trusted_certificates()
    _keep_signatures()
    _keep_dependencies()


def hash_passwords_cheaply() -> None:
    Argon2Passwords.cost = Cost(passes=1, kib=8)


@contextmanager
def recommended_hashing() -> Iterator[None]:
    """Within it passwords are hashed as in the product."""
    cheap, Argon2Passwords.cost = Argon2Passwords.cost, RECOMMENDED
    try:
        yield
    finally:
        Argon2Passwords.cost = cheap


def _keep_trusted_certificates() -> None:
    """Reading the certificates takes 40 ms for each client of httpx, also for one that speaks plain HTTP only."""

    @cache
    def kept(_file: str | None, _directory: str | None) -> ssl.SSLContext:
        return _create_ssl_context()

    def create(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is True and cert is None and trust_env:
            return kept(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return _create_ssl_context(verify, cert, trust_env)

    httpx.create_ssl_context = httpx_transports.create_ssl_context = create  # type: ignore[attr-defined]


def _keep_signatures() -> None:
    """Litestar reads the signatures of all handlers for every application: most of the 0.4 s that one takes."""
    from_fn: Callable[..., ParsedSignature] = ParsedSignature.from_fn.__func__  # type: ignore[attr-defined]
    create: Callable[..., type[SignatureModel]] = SignatureModel.create.__func__  # type: ignore[attr-defined]
    parsed: dict[Any, ParsedSignature] = {}
    models: dict[Any, tuple[type[SignatureModel], ParsedSignature]] = {}

    def kept_signature(cls: type[ParsedSignature], fn: Any, signature_namespace: dict[str, Any]) -> ParsedSignature:
        key = (_same(fn), *signature_namespace.items())
        if key not in parsed:
            parsed[key] = from_fn(cls, fn, signature_namespace)
        return parsed[key]

    def kept_model(cls: type[SignatureModel], **of: Any) -> type[SignatureModel]:
        signature = of["parsed_signature"]
        # Its decoders are those of the plugins, which are the same for all applications of a kind.
        decoders = len(of["type_decoders"])
        key = (_same(of["fn"]), frozenset(of["dependency_name_set"]), id(signature), of["data_dto"], decoders)
        if key not in models:
            models[key] = create(cls, **of), signature  # which must live on, so that nothing else gets its id
        return models[key][0]

    ParsedSignature.from_fn = classmethod(kept_signature)  # type: ignore[method-assign,assignment,arg-type]
    SignatureModel.create = classmethod(kept_model)  # type: ignore[method-assign,assignment,arg-type]


def _keep_dependencies() -> None:
    """Where only the application has dependencies, all its handlers have the same."""
    resolve = BaseRouteHandler.resolve_dependencies
    known: list[Any] = []
    # That no two of them are the same object is found in new interpreters as well.
    BaseRouteHandler._validate_dependency_is_unique = staticmethod(lambda **_of: None)  # type: ignore[method-assign]

    def resolved(handler: BaseRouteHandler) -> dict[str, Provide]:
        if handler._resolved_dependencies is Empty:
            application, *others = handler.ownership_layers
            if any(layer.dependencies for layer in others):
                return resolve(handler)
            if not known or known[0] is not application.dependencies:
                known[:] = [application.dependencies, resolve(handler)]
            handler._resolved_dependencies = dict(known[1])
        return handler._resolved_dependencies

    BaseRouteHandler.resolve_dependencies = resolved  # type: ignore[method-assign]


def _same(fn: Any) -> Any:
    """What functions have in common that have the same signature because they are made by one."""
    return fn.__code__ if fn.__qualname__ == "_constant.<locals>.provide" else fn
