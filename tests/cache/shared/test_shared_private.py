"""Nobody gets what is another's through the store, and no name of a key says whose it is."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from proxy.cache.key import with_parts
from proxy.cache.shared.names import Names, pack_names, plain_key, unpack_names, variant_word
from proxy.clients.client import Client

FRESH = {"Cache-Control": "max-age=60"}


def known(user: str | None, tenant: str | None = None) -> Client:
    return Client("203.0.113.7", b"203.0.113.7", b"203.0.113.7", user, tenant)


async def ask_as(weir: Any, client: Client, content: bytes | None, kit: Any) -> Any:
    """`content` is what the origin would say; None: it must not be asked."""
    made = weir.exchange

    def exchange(*arguments: Any, **how: Any) -> Any:
        found = made(*arguments, **how)
        found.client = client
        return found

    weir.exchange = exchange
    weir.origin.default = None if content is None else kit.reply(200, FRESH, content)
    try:
        return await weir.ask("/me")
    finally:
        weir.exchange = made


async def test_each_user_gets_their_own_from_any_weir(new_weir: Any, kit: Any, tools: Any, keys: Any) -> None:
    weirs = [await new_weir({"by": "user"}) for _ in range(3)]
    for weir in weirs:  # as different as processes are: generations are counted by each for itself
        for _ in range(weirs.index(weir)):
            weir.cache.invalidations.add(b"http://example.com/me")
    clients = [known(user, tenant) for user in ("ann", "bob", "1:x") for tenant in (None, "acme", "acme 3:ann")]
    for number, client in enumerate(clients):
        said = await ask_as(weirs[number % 3], client, b"%d" % number, kit)
        assert said.content == b"%d" % number
    await tools.written(*weirs)
    random = Random(3)
    for _ in range(200):
        number = random.randrange(len(clients))
        said = await ask_as(random.choice(weirs), clients[number], None, kit)
        assert said.content == b"%d" % number
    names = b" ".join(keys.keys("*"))
    assert b"ann" not in names
    assert b"acme" not in names
    assert b"example" not in names


async def test_a_write_ends_what_each_user_has_in_the_store_too(new_weir: Any, kit: Any, tools: Any) -> None:
    weir = await new_weir({"by": "user"})
    assert (await ask_as(weir, known("ann"), b"before", kit)).content == b"before"
    await tools.written(weir)
    weir.cache.invalidate(b"http://example.com/me")
    assert (await ask_as(weir, known("ann"), b"after", kit)).content == b"after"


def test_ten_thousand_pairs_of_users_have_names_of_their_own() -> None:
    random = Random(7)
    seen: dict[bytes, bytes] = {}
    for _ in range(10_000):
        uri = b"https://a.example/%d" % random.randrange(5)
        user = bytes(random.choices(b"a :1-%", k=random.randrange(1, 7)))
        tenant = bytes(random.choices(b"a :1-%", k=random.randrange(3)))
        parts = b" %d:%b" % (len(user), user) + (b" %d:%b" % (len(tenant), tenant) if tenant else b" -")
        owner = uri + b"\0" + user + b"\0" + tenant
        base = Names(b"weir", with_parts(uri, random.randrange(1000), parts)).base
        assert seen.setdefault(base, owner) == owner


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        (b"http://a/b?c", b"http://a/b?c"),
        (b"http://a/b 12 -", b"http://a/b -"),
        (b"http://a/b 0 3:x y 1:1", b"http://a/b 3:x y 1:1"),
    ],
    ids=["a URI", "nobody's part", "parts with blanks"],
)
def test_the_generation_is_no_part_of_the_shared_key(key: bytes, plain: bytes) -> None:
    assert plain_key(key) == plain


def test_variants_with_other_values_have_other_words() -> None:
    names = (b"a", b"b")
    words = {
        variant_word(names, values)
        for values in [(b"", b""), (None, b""), (b"", None), (None, None), (b"1:", b""), (b"", b"1:"), (b"-", None)]
    }
    assert len(words) == 7
    assert variant_word((), ()) == b"-"
    assert unpack_names(pack_names(names)) == names
    assert unpack_names(pack_names(())) == ()
