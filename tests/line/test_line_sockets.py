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
from tests.line.conftest import StartWeir


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


def test_a_listener_serves_https_and_tells_the_backend_so(
    start_weir: StartWeir, app: Backend, authority: Authority, trusting: ssl.SSLContext
) -> None:
    cert, key = authority.issue("listener", "localhost", "127.0.0.1")
    listen = f"listen: [127.0.0.1:0, {{address: '127.0.0.1:0', tls: {{cert: {cert}, key: {key}}}}}]\n"
    weir = start_weir(listen + one_route(app.url).replace("name: all", "name: all, security_headers: true"))
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


def test_a_listener_speaks_nothing_older_than_tls_1_2(
    start_weir: StartWeir, app: Backend, authority: Authority
) -> None:
    cert, key = authority.issue("strict", "localhost")
    weir = start_weir(f"listen: {{address: '127.0.0.1:0', tls: {{cert: {cert}, key: {key}}}}}\n" + one_route(app.url))
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Client(weir.url, tls=old)
    plain = Client(weir.url)
    plain.send("GET", "/")
    with plain, pytest.raises((EOFError, ConnectionResetError, ValueError, IndexError)):
        plain.answer()


def test_an_https_backend_is_verified_with_our_own_authority(
    start_weir: StartWeir, secure: Backend, authority: Authority
) -> None:
    weir = start_weir(one_route(secure.url, f"ca: {authority.path}"))
    answers = [weir.ask("POST", "/x", None, b"x" * 100_000) for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert len({call.connection for call in secure.asked("/x")}) == 1, "TLS connections are kept and used again"


@pytest.mark.parametrize(
    "tls",
    [
        pytest.param("ca: {ca}, server_name: other.example.com", id="another name"),
        pytest.param("ca: {stranger}", id="another authority"),
        pytest.param("", id="only the system's authorities"),
    ],
)
def test_a_backend_that_is_not_who_it_should_be_gets_nothing(
    start_weir: StartWeir, secure: Backend, authority: Authority, tmp_path: Path, tls: str
) -> None:
    stranger = Authority(tmp_path, "stranger")
    weir = start_weir(one_route(secure.url, tls.format(ca=authority.path, stranger=stranger.path)))
    answer = weir.get("/secret")
    assert (answer.status, answer.reason) == (502, "tls_failed")
    assert answer.get("proxy-status") == "weir; error=tls_certificate_error"
    assert secure.asked("/secret") == []
    assert weir.logged(answer)["reason"] == "tls_failed"
    assert weir.metric("weir_requests_total", reason="tls_failed") == 1


def test_a_backend_may_be_asked_by_another_name_than_its_address(
    start_weir: StartWeir, hub: Hub, authority: Authority
) -> None:
    named = Backend(hub, "named", tls=server_context(authority.issue("named", "app.internal")))
    weir = start_weir(one_route(named.url, f"ca: {authority.path}, server_name: app.internal"))
    assert weir.get("/").status == 200


def test_a_backend_may_ask_for_our_certificate(start_weir: StartWeir, hub: Hub, authority: Authority) -> None:
    context = server_context(authority.issue("mutual", "127.0.0.1"), clients=authority.path)
    backend = Backend(hub, "mutual", tls=context)
    cert, key = authority.issue("weir", "weir.internal")
    weir = start_weir(one_route(backend.url, f"ca: {authority.path}, cert: {cert}, key: {key}"))
    assert weir.get("/").status == 200
    anonymous = start_weir(one_route(backend.url, f"ca: {authority.path}"))
    refused = anonymous.get("/")
    assert refused.status == 502


def test_unverified_is_a_choice_that_must_be_written(start_weir: StartWeir, secure: Backend) -> None:
    weir = start_weir(one_route(secure.url, "verify: false"))
    assert weir.get("/").status == 200


def test_unix_sockets_work_on_both_sides_and_for_the_operator(
    start_weir: StartWeir, hub: Hub, socket_folder: Path
) -> None:
    backend = Backend(hub, "unix", path=str(socket_folder / "app"))
    weir = start_weir(
        f"listen: unix:{socket_folder}/weir\nadmin: unix:{socket_folder}/admin\n"
        + one_route(backend.url).replace("upstream: app", "upstream: app, limits: [{name: ip, rate: 2/h, by: ip}]")
    )
    url = f"unix:{socket_folder}/weir"
    answer = ask(url, "GET", "/x")
    assert answer.backend == "unix"
    assert backend.last("/x").get("host") == "localhost"
    assert ask(url, "POST", "/x", None, b"y" * 200_000).status == 200
    assert ask(url, "GET", "/x").status == 429, "whoever comes over a unix socket is one client"
    assert weir.metric("weir_requests_total", status="200") == 2
    said = weir.logged(answer)
    assert said["endpoint"] == backend.label
    assert weir.stop() == 0
    assert not (socket_folder / "weir").exists()


def test_a_socket_file_left_over_from_a_crash_is_no_obstacle(
    start_weir: StartWeir, app: Backend, socket_folder: Path
) -> None:
    text = f"listen: unix:{socket_folder}/weir\n" + one_route(app.url)
    first = start_weir(text)
    first.kill()
    assert (socket_folder / "weir").exists()
    start_weir(text)
    assert ask(f"unix:{socket_folder}/weir", "GET", "/").status == 200


def test_a_host_of_their_own_is_sent_to_https_backends(
    start_weir: StartWeir, secure: Backend, authority: Authority
) -> None:
    weir = start_weir(one_route(secure.url, f"ca: {authority.path}", "upstream"))
    weir.get("/named", {"Host": "shop.example.com"})
    assert secure.last("/named").get("host") == secure.label
