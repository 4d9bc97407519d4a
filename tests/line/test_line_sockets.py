"""TLS and unix sockets, towards clients and towards backends."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.line.backend import Backend, Hub
from tests.line.certificates import Authority
from tests.line.client import Client, ask
from tests.line.conftest import Configure, StartWeir
from tests.line.process import Weir


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.path))


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """The path of a unix socket must be short."""
    with tempfile.TemporaryDirectory(prefix="weir-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def secure(hub: Hub, authority: Authority) -> Backend:
    """An https backend that is 127.0.0.1, and wants no certificate of its clients."""
    return Backend(hub, "secure", tls=server_context(authority.issue("secure", "127.0.0.1")))


@pytest.fixture(scope="module")
def weir(start_module_weir: StartWeir, app: Backend, authority: Authority) -> Weir:
    cert, key = authority.issue("listener", "localhost", "127.0.0.1")
    return start_module_weir(
        "listen: [127.0.0.1:0, {address: '127.0.0.1:0', tls: {cert: listener.crt, key: listener.key}}]\n"
        f"upstreams: {{app: {{primary: {app.url}}}}}\n"
        "routes: [{name: all, upstream: app, security_headers: true}]\n",
        {"listener.crt": cert.read_text(), "listener.key": key.read_text()},
    )


def server_context(files: tuple[Path, Path], clients: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


def one_route(primary: str, tls: str = "", host: str = "pass") -> str:
    tls = f", tls: {{{tls}}}" if tls else ""
    return f"upstreams: {{app: {{primary: '{primary}', host: {host}{tls}}}}}\nroutes: [{{name: all, upstream: app}}]\n"


# -- clients --


def test_a_listener_serves_https_and_tells_the_backend_so(weir: Weir, app: Backend, trusting: ssl.SSLContext) -> None:
    plain_url, secure_url = weir.listening
    assert secure_url.startswith("https://")
    with Client(secure_url, tls=trusting) as client:
        answers = [client.ask("POST", "/over-tls", None, b"x" * 300_000) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].get("strict-transport-security") == "max-age=31536000"
    assert app.last("/over-tls").get("x-forwarded-proto") == "https"
    assert app.last("/over-tls").content == b"x" * 300_000
    assert ask(plain_url, "GET", "/plain").get("strict-transport-security") is None
    assert app.last("/plain").get("x-forwarded-proto") == "http"
    large = ask(secure_url, "GET", "/large?size=3000000", tls=trusting)
    assert len(large.content) == 3_000_000


def test_a_listener_speaks_nothing_older_than_tls_1_2(weir: Weir, trusting: ssl.SSLContext) -> None:
    secure_url = weir.listening[1]
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Client(secure_url, tls=old)
    assert ask(secure_url, "GET", "/x", tls=trusting).status == 200


def test_plain_http_on_an_https_listener_reaches_nobody(weir: Weir, app: Backend) -> None:
    plain = Client(weir.listening[1].replace("https", "http"))
    with plain, pytest.raises((EOFError, ConnectionResetError, ValueError, IndexError)):
        plain.ask("GET", "/unencrypted")
    assert app.asked("/unencrypted") == []


def test_a_renewed_certificate_is_in_force_after_a_reload(weir: Weir, authority: Authority, tmp_path: Path) -> None:
    _, secure_url = weir.listening
    stranger = Authority(tmp_path, "renewed")
    trusting_both = ssl.create_default_context(cafile=str(authority.path))
    trusting_both.load_verify_locations(stranger.path)
    trusting_the_new = ssl.create_default_context(cafile=str(stranger.path))
    cert, key = (weir.folder / name for name in ("listener.crt", "listener.key"))
    text = weir.path.read_text()
    with Client(secure_url, tls=trusting_both) as open_before:
        assert open_before.ask("GET", "/x").status == 200
        old = cert.read_bytes(), key.read_bytes()
        cert.write_bytes(b"nonsense")
        assert weir.reload(text) == "reload_refused"
        assert str(cert) in str(weir.events("reload_refused")[-1]["error"])
        assert ask(secure_url, "GET", "/x", tls=trusting_both).status == 200
        for path, renewed in zip((cert, key), stranger.issue("renewed", "localhost"), strict=True):
            path.write_bytes(renewed.read_bytes())
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(secure_url, tls=trusting_the_new)
        assert weir.reload(text) == "reload_ok"
        assert ask(secure_url, "GET", "/x", tls=trusting_the_new).status == 200
        assert open_before.ask("GET", "/x").status == 200
        for path, content in zip((cert, key), old, strict=True):
            path.write_bytes(content)
    assert weir.reload(text) == "reload_ok"


# -- backends --


def test_an_https_backend_is_verified_with_our_own_authority(
    configure: Configure, secure: Backend, authority: Authority
) -> None:
    weir = configure(one_route(secure.url, f"ca: {authority.path}", host="upstream"))
    answers = [weir.ask("POST", "/x", {"Host": "shop.example.com"}, b"x" * 100_000) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert len({call.connection for call in secure.asked("/x")}) == 1, "TLS connections are kept and used again"
    assert secure.last("/x").get("host") == secure.label


@pytest.mark.parametrize(
    "tls",
    [
        pytest.param("ca: {ca}, server_name: other.example.com", id="another name"),
        pytest.param("ca: {stranger}", id="another authority"),
        pytest.param("", id="only the system's authorities"),
    ],
)
def test_a_backend_that_is_not_who_it_should_be_gets_nothing(
    configure: Configure, secure: Backend, authority: Authority, tmp_path: Path, tls: str
) -> None:
    stranger = Authority(tmp_path, "stranger")
    weir = configure(one_route(secure.url, tls.format(ca=authority.path, stranger=stranger.path)))
    before = weir.metric("weir_requests_total", reason="tls_failed")
    answer = weir.get("/secret")
    assert (answer.status, answer.reason) == (502, "tls_failed")
    assert answer.get("proxy-status") == "weir; error=tls_certificate_error"
    assert secure.asked("/secret") == []
    assert weir.logged(answer)["reason"] == "tls_failed"
    assert weir.metric("weir_requests_total", reason="tls_failed") == before + 1


def test_a_backend_may_be_asked_by_another_name_than_its_address(
    configure: Configure, hub: Hub, authority: Authority
) -> None:
    named = Backend(hub, "named", tls=server_context(authority.issue("named", "app.internal")))
    weir = configure(one_route(named.url, f"ca: {authority.path}, server_name: app.internal"))
    assert weir.get("/").status == 200


def test_a_backend_may_ask_for_our_certificate(configure: Configure, hub: Hub, authority: Authority) -> None:
    context = server_context(authority.issue("mutual", "127.0.0.1"), clients=authority.path)
    backend = Backend(hub, "mutual", tls=context)
    weir = configure(one_route(backend.url, f"ca: {authority.path}"))
    assert weir.get("/mutual").status == 502
    assert backend.asked("/mutual") == []
    cert, key = authority.issue("weir", "weir.internal")
    configure(one_route(backend.url, f"ca: {authority.path}, cert: {cert}, key: {key}"))
    assert weir.get("/mutual").status == 200


def test_unverified_is_a_choice_that_must_be_written(configure: Configure, secure: Backend) -> None:
    assert configure(one_route(secure.url, "verify: false")).get("/").status == 200


# -- unix sockets --


def test_unix_sockets_work_on_both_sides_and_for_the_operator(
    start_weir: StartWeir, hub: Hub, socket_folder: Path
) -> None:
    backend = Backend(hub, "unix", path=str(socket_folder / "app"))
    text = f"listen: unix:{socket_folder}/weir\nadmin: unix:{socket_folder}/admin\n" + one_route(backend.url).replace(
        "upstream: app", "upstream: app, limits: [{name: ip, rate: 2/h, by: ip}]"
    )
    weir = start_weir(text)
    url = f"unix:{socket_folder}/weir"
    answer = ask(url, "GET", "/x")
    assert answer.backend == "unix"
    assert backend.last("/x").get("host") == "localhost"
    assert ask(url, "POST", "/x", None, b"y" * 200_000).status == 200
    assert ask(url, "GET", "/x").status == 429, "whoever comes over a unix socket is one client"
    assert weir.metric("weir_requests_total", status="200") == 2
    assert weir.logged(answer)["endpoint"] == backend.label

    weir.kill()
    assert (socket_folder / "weir").exists(), "as a crash leaves it"
    again = start_weir(text)
    assert ask(url, "GET", "/x").status == 200
    assert again.stop() == 0
    assert not (socket_folder / "weir").exists()
    assert not (socket_folder / "admin").exists()
