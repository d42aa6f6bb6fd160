"""A certificate authority of the tests, and servers' certificates by it."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def a_server(directory: Path, *, address: str = "127.0.0.1", days: int = 2) -> tuple[ssl.SSLContext, Path]:
    """For a server at that address, valid for so many days from yesterday on; and the file of who vouches for it."""
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    draft = x509.CertificateBuilder().issuer_name(_name("The tests")).not_valid_before(yesterday)
    vouching = (
        draft.subject_name(_name("The tests"))
        .public_key(authority.public_key())
        .serial_number(1)
        .not_valid_after(yesterday + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority, SHA256())
    )
    certificate = (
        draft.subject_name(_name("A server"))
        .public_key(own.public_key())
        .serial_number(2)
        .not_valid_after(yesterday + timedelta(days=days, seconds=-1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .sign(authority, SHA256())
    )
    trusted, chain, key = (directory / name for name in ("trusted.pem", "server.pem", "server.key"))
    trusted.write_bytes(vouching.public_bytes(Encoding.PEM))
    chain.write_bytes(certificate.public_bytes(Encoding.PEM))
    key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    return context, trusted


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
