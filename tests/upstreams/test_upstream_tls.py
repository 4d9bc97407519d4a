"""TLS towards an upstream, with real handshakes on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.core.settings import FromText
from proxy.upstreams.settings import UpstreamTlsSettings
from proxy.upstreams.tls import UpstreamTls, compile_tls

Key = ec.EllipticCurvePrivateKey


class Authority:
    """A certificate authority that writes its files to a directory."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = self._sign(self.name, self.key, None)
        (folder / f"{name}.pem").write_bytes(self.cert.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *hosts: str, password: bytes | None = None) -> None:
        """Write NAME.pem and NAME.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts]
        cert = self._sign(subject, key, x509.SubjectAlternativeName(names) if names else None)
        (self.folder / f"{name}.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
            )
        )

    def _sign(self, subject: x509.Name, key: Key, names: x509.SubjectAlternativeName | None) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=key is self.key, path_length=None), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path, "ca")
    authority.issue("server", "app.internal", "127.0.0.1")
    authority.issue("client")
    return authority


Start = Callable[..., Awaitable[int]]


@pytest.fixture
async def start_server(authority: Authority) -> AsyncIterator[Start]:
    servers: list[asyncio.Server] = []

    async def start(*, asks_for_client: bool = False) -> int:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(authority.folder / "server.pem", authority.folder / "server.key")
        if asks_for_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(authority.folder / "ca.pem")

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
        servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()


async def greeting(tls: UpstreamTls, port: int, host: str = "127.0.0.1") -> bytes:
    """What the server says. A missing client certificate shows only here: TLS 1.3 reports it after the handshake."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls.context, server_hostname=tls.name_for(host)
    )
    try:
        return await reader.read()
    finally:
        writer.close()


def tls_of(folder: Path, **settings: object) -> UpstreamTls:
    return compile_tls(UpstreamTlsSettings.model_validate(settings, context=FromText(str(folder))))


async def test_a_certificate_of_our_own_authority_is_trusted(authority: Authority, start_server: Start) -> None:
    assert await greeting(tls_of(authority.folder, ca="ca.pem"), await start_server()) == b"hello"


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority, start_server: Start) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await greeting(tls_of(authority.folder), await start_server())


async def test_a_certificate_for_another_name_is_refused(authority: Authority, start_server: Start) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'other\.internal'"):
        await greeting(tls_of(authority.folder, ca="ca.pem"), await start_server(), "other.internal")


async def test_server_name_is_verified_in_place_of_the_host(authority: Authority, start_server: Start) -> None:
    tls = tls_of(authority.folder, ca="ca.pem", server_name="app.internal")
    assert await greeting(tls, await start_server(), "other.internal") == b"hello"
    wrong = tls_of(authority.folder, ca="ca.pem", server_name="wrong.internal")
    with pytest.raises(ssl.SSLCertVerificationError):
        await greeting(wrong, await start_server(), "127.0.0.1")


async def test_verify_false_accepts_any_certificate(authority: Authority, start_server: Start) -> None:
    assert await greeting(tls_of(authority.folder, verify=False), await start_server(), "any.name") == b"hello"


async def test_the_client_certificate_is_shown(authority: Authority, start_server: Start) -> None:
    port = await start_server(asks_for_client=True)
    with_it = tls_of(authority.folder, ca="ca.pem", cert="client.pem", key="client.key")
    assert await greeting(with_it, port) == b"hello"
    heard = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):  # or a plain end of file, as the race goes
        heard = await greeting(tls_of(authority.folder, ca="ca.pem"), port)
    assert heard == b""


def test_certificate_and_key_may_share_a_file(authority: Authority) -> None:
    folder = authority.folder
    (folder / "both.pem").write_bytes((folder / "client.pem").read_bytes() + (folder / "client.key").read_bytes())
    assert tls_of(folder, cert="both.pem").context.check_hostname


def test_an_absolute_path_is_taken_as_it_is(authority: Authority) -> None:
    assert tls_of(Path("/nowhere"), ca=str(authority.folder / "ca.pem")).context.check_hostname


def test_old_protocol_versions_are_refused(authority: Authority) -> None:
    for tls in (tls_of(authority.folder), tls_of(authority.folder, verify=False)):
        assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2


UNUSABLE = {
    "no such file": ({"ca": "none.pem"}, "cannot read .*none.pem.*no such file"),
    "a directory": ({"ca": "."}, "cannot read"),
    "not a certificate": ({"ca": "client.key"}, "no certificate authorities"),
    "the key of another": ({"cert": "client.pem", "key": "server.key"}, "not a certificate with its"),
    "no key at all": ({"cert": "client.pem"}, "not a certificate with its"),
    "a key with a password": ({"cert": "locked.pem", "key": "locked.key"}, "unencrypted key"),
}


@pytest.mark.parametrize(("settings", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_file_that_is_of_no_use_is_refused(authority: Authority, settings: dict[str, str], reason: str) -> None:
    authority.issue("locked", password=b"secret")
    with pytest.raises(ValueError, match=reason):
        tls_of(authority.folder, **settings)


def test_a_renewed_certificate_is_another_identity_and_an_unchanged_one_is_not(authority: Authority) -> None:
    settings = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
    before = tls_of(authority.folder, **settings)
    assert tls_of(authority.folder, **settings) == before
    authority.issue("client")
    assert tls_of(authority.folder, **settings) != before


def test_verification_and_server_name_are_part_of_the_identity(authority: Authority) -> None:
    names: list[dict[str, object]] = [{"server_name": "a"}, {"server_name": "b"}]
    kinds: list[dict[str, object]] = [{}, {"verify": False}, {"ca": "ca.pem"}, *names]
    assert len({tls_of(authority.folder, **kind).fingerprint for kind in kinds}) == len(kinds)
