from __future__ import annotations

import pytest

from proxy.upstreams.address import parse_address

GOOD = {
    "ipv4": ("http://127.0.0.1:3000", ("http", "127.0.0.1", 3000, ""), b"127.0.0.1:3000", "127.0.0.1:3000"),
    "final slash": ("http://127.0.0.1:3000/", ("http", "127.0.0.1", 3000, ""), b"127.0.0.1:3000", "127.0.0.1:3000"),
    "default port": ("http://app.internal", ("http", "app.internal", 80, ""), b"app.internal", "app.internal:80"),
    "said default port": ("https://app:443", ("https", "app", 443, ""), b"app", "app:443"),
    "https elsewhere": ("https://app:80", ("https", "app", 80, ""), b"app:80", "app:80"),
    "upper case": ("HTTP://App.Example:81", ("http", "app.example", 81, ""), b"app.example:81", "app.example:81"),
    "container name": ("http://shop_app_1:80", ("http", "shop_app_1", 80, ""), b"shop_app_1", "shop_app_1:80"),
    "absolute name": ("http://app.example.", ("http", "app.example.", 80, ""), b"app.example", "app.example.:80"),
    "ipv6": ("http://[::1]:3000", ("http", "::1", 3000, ""), b"[::1]:3000", "[::1]:3000"),
    "ipv6 is shortened": ("https://[2001:DB8:0:0::1]", ("https", "2001:db8::1", 443, ""), b"[2001:db8::1]",
                          "[2001:db8::1]:443"),
    "number in a name": ("http://app1.2x:80", ("http", "app1.2x", 80, ""), b"app1.2x", "app1.2x:80"),
    "unix": ("unix:/run/app.sock", ("http", "", 0, "/run/app.sock"), b"localhost", "unix:/run/app.sock"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "parts", "authority", "label"), GOOD.values(), ids=GOOD.keys())
def test_an_address_is_read(text: str, parts: tuple[str, str, int, str], authority: bytes, label: str) -> None:
    address = parse_address(text)
    assert (address.scheme, address.host, address.port, address.unix_path) == parts
    assert address.authority == authority
    assert address.label == label


BAD = {
    "empty": ("", "is not the address"),
    "no scheme": ("127.0.0.1:3000", "is not the address"),
    "other scheme": ("ftp://127.0.0.1", "is not the address"),
    "no host": ("http://", "malformed host name"),
    "only a port": ("http://:3000", "malformed host name"),
    "path": ("http://app:3000/api", "more than a host and a port"),
    "query": ("http://app:3000?x=1", "more than a host and a port"),
    "fragment": ("http://app#x", "more than a host and a port"),
    "backslash": ("http://app\\evil", "more than a host and a port"),
    "empty port": ("http://app:", "no valid port"),
    "port zero": ("http://app:0", "no valid port"),
    "port too large": ("http://app:65536", "no valid port"),
    "port with sign": ("http://app:+80", "no valid port"),
    "port in other digits": ("http://app:\u0663000", "no valid port"),
    "short ipv4": ("http://127.1:3000", "write all of it"),
    "ipv4 as one number": ("http://2130706433", "write all of it"),
    "hexadecimal ipv4": ("http://0x7f.0.0.1", "write all of it"),
    "hexadecimal number": ("http://0x7f000001", "write all of it"),
    "octal ipv4": ("http://0177.0.0.1", "write all of it"),
    "ipv4 out of range": ("http://256.0.0.1", "write all of it"),
    "ipv4 with a final dot": ("http://127.0.0.1.", "write all of it"),
    "name that ends in a number": ("http://app.1", "write all of it"),
    "ipv6 without brackets": ("http://::1:3000", "without brackets"),
    "ipv6 malformed": ("http://[::g]", "write all of it"),
    "ipv6 not closed": ("http://[::1:3000", "malformed IPv6"),
    "ipv6 with text after": ("http://[::1]x", "malformed IPv6"),
    "ipv6 zone": ("http://[fe80::1%eth0]", "IPv6 zone"),
    "space": ("http://app example", "malformed host name"),
    "line break": ("http://app\r\nx", "malformed host name"),
    "not ascii": ("http://b\u00fccher.example", "xn--"),
    "empty label": ("http://a..b", "malformed host name"),
    "dash first": ("http://-a.b", "malformed host name"),
    "long label": (f"http://{'a' * 64}", "malformed host name"),
    "long name": (f"http://{'a.' * 127}bc", "malformed host name"),
    "unix relative": ("unix:run/app.sock", "absolute path"),
    "unix with slashes": ("unix:///run/app.sock", "absolute path"),
    "unix too long": ("unix:/" + "a" * 103, "at most 103"),
    "unix with NUL": ("unix:/run/\0", "printable"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=BAD.keys())
def test_an_address_that_is_not_one_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)
    assert "\r" not in str(caught.value)


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="no user or password") as caught:
        parse_address("http://admin:hunter2@app:3000")
    assert "hunter2" not in str(caught.value)


def test_two_spellings_of_one_place_are_equal() -> None:
    assert parse_address("http://APP") == parse_address("http://app:80/")
    assert hash(parse_address("http://APP")) == hash(parse_address("http://app:80/"))
    assert parse_address("http://app:443") != parse_address("https://app:443")
