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
from litestar.utils.signature import ParsedSignature

from infrastructure.auth.passwords import RECOMMENDED, Argon2Passwords, Cost

_MADE_ALIKE = (
    "_constant.<locals>.provide",
    "_of_request.<locals>.provide",
    "_of_request.<locals>.provide_async",
    "HTTPRoute.create_options_handler.<locals>.options_handler",
)
"""Functions of applications that differ in what they return or whom they belong to, not in their signature."""

_create_ssl_context = httpx.create_ssl_context


def save() -> None:
    """For an interpreter that makes many applications and clients."""
    _keep_trusted_certificates()
    _keep_signatures()


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
        known_by = _key(fn)
        if known_by is None:
            return from_fn(cls, fn, signature_namespace)
        key = (known_by, *signature_namespace.items())
        if key not in parsed:
            parsed[key] = from_fn(cls, fn, signature_namespace)
        return parsed[key]

    def kept_model(cls: type[SignatureModel], **of: Any) -> type[SignatureModel]:
        known_by, signature = _key(of["fn"]), of["parsed_signature"]
        if known_by is None:
            return create(cls, **of)
        # Its decoders are those of the plugins, which are the same for all applications of a kind.
        decoders = len(of["type_decoders"])
        key = (known_by, frozenset(of["dependency_name_set"]), id(signature), of["data_dto"], decoders)
        if key not in models:
            models[key] = create(cls, **of), signature  # which must live on, so that nothing else gets its id
        return models[key][0]

    ParsedSignature.from_fn = classmethod(kept_signature)  # type: ignore[method-assign,assignment]
    SignatureModel.create = classmethod(kept_model)  # type: ignore[method-assign,assignment,arg-type]


def _key(fn: Any) -> Any:
    """What a function is known by; None for one that is made anew for each application, which must not live on."""
    name = getattr(fn, "__qualname__", "<locals>")
    if name in _MADE_ALIKE:
        return fn.__code__
    return None if "<locals>" in name else fn
