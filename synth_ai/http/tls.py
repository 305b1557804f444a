"""Which certificates are trusted: those that the openai SDK trusts, without its import.

`SSL_CERT_FILE` names them, or `SSL_CERT_DIR`; else they are the system's, and where it has none
those of certifi.
"""

from __future__ import annotations

import os
import platform
import ssl
from importlib.util import find_spec

from synth_ai.errors import SettingError

# Where systems keep their certificates, if not where OpenSSL was told to look when it was built.
_CERTIFICATE_FILES = (
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
)


def make_ssl_context() -> ssl.SSLContext:
    """Make the context of TLS connections to a server.

    Raises:
        SettingError: what `SSL_CERT_FILE` or `SSL_CERT_DIR` names cannot be read.
    """
    context = _make_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _make_context() -> ssl.SSLContext:
    file = os.environ.get("SSL_CERT_FILE")
    if file:
        return _load_named("SSL_CERT_FILE", file)
    directory = os.environ.get("SSL_CERT_DIR")
    if directory:
        return _load_named("SSL_CERT_DIR", directory)

    if platform.system() in ("Darwin", "Windows") and find_spec("truststore") is not None:
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if not _has_default_certificates(context):
        file = _find_certificates()
        if file is not None:
            context.load_verify_locations(cafile=file)

    return context


def _load_named(variable: str, path: str) -> ssl.SSLContext:
    """Load the certificates that an environment variable names.

    Raises:
        SettingError: they cannot be read.
    """
    try:
        if os.path.isdir(path):
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise SettingError(
            f"The environment variable {variable} is {path!r}, of which no certificates can be "
            f"read: {error}."
        ) from error


def _has_default_certificates(context: ssl.SSLContext) -> bool:
    """Tell whether OpenSSL found certificates; those in a directory it reads one by one later."""
    if context.cert_store_stats()["x509_ca"] > 0:
        return True

    directory = ssl.get_default_verify_paths().capath
    return directory is not None and len(os.listdir(directory)) > 0


def _find_certificates() -> str | None:
    for path in _CERTIFICATE_FILES:
        if os.path.isfile(path):
            return path

    if find_spec("certifi") is None:
        return None
    import certifi

    return certifi.where()
