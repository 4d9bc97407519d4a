"""The TLS side of an upstream: verified by default, with files that are read when the configuration is compiled."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field

from proxy.upstreams.settings import UpstreamTlsSettings

__all__ = ["UpstreamTls", "compile_tls"]


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """A ready context. Two are equal when the settings and the contents of their files are.

    `server_name` is None to ask for and verify the host of each address. The context checks certificate and name
    itself; with `verify: false` it checks nothing.
    """

    context: ssl.SSLContext = field(compare=False, repr=False)
    server_name: str | None
    fingerprint: str  # tells a renewed certificate from an unchanged one at a reload

    def name_for(self, host: str) -> str:
        """What to give as `server_hostname` for an address with this host."""
        return self.server_name or host.removesuffix(".") or "localhost"


def compile_tls(settings: UpstreamTlsSettings) -> UpstreamTls:
    """Read the files and build the context. Raises ValueError."""
    ca, cert, key = settings.ca, settings.cert, settings.key
    digest = hashlib.sha256(f"{settings.verify} {settings.server_name}".encode())
    for path in (ca, cert, key):
        digest.update(hashlib.sha256(_read(path)).digest() if path else b"-")
    return UpstreamTls(_build_context(settings.verify, ca, cert, key), settings.server_name, digest.hexdigest()[:16])


def _build_context(verify: bool, ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    if verify:
        try:
            context = ssl.create_default_context(cafile=ca)  # with a `ca` the system's authorities are not trusted
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"`{ca}` has no certificate authorities in PEM form ({_reason(error)})") from error
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if cert is not None:
        try:
            context.load_cert_chain(cert, key, password=b"")  # without a password OpenSSL would ask at the terminal
        except (ssl.SSLError, OSError) as error:
            files = f"`{cert}` and `{key}` are" if key else f"`{cert}` is"
            raise ValueError(f"{files} not a certificate with its unencrypted key ({_reason(error)})") from error
    return context


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"cannot read `{path}`: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
