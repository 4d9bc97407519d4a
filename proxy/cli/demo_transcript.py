"""What the demo shows: real requests, one line each, and a word for everything that was not as it should be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import sleep
from typing import Any, Final

from rich.console import Console
from rich.json import JSON
from rich.text import Text

from proxy.cli.demo_client import Answer, ask, echo_over_websocket
from proxy.core.clock import monotonic

__all__ = ["Ports", "Transcript", "play", "sign_in"]

LOGIN_LIMIT: Final = 5  # policies/auth.yaml
REPLICATION_S: Final = 5.0
AI_LIMIT: Final = 20  # policies/ai.yaml
PRECOMPUTED_WITHIN_S: Final = 10.0  # of the start, on a slow machine
_PARTS: Final = {"store", "upstream app", "cache"}
DESCRIPTION: Final = (
    "A quiet kettle made of copper. It boils a litre of water in three minutes. "
    "The copper kettle has a handle of oak. Copper keeps water warm, and a quiet kettle wakes nobody."
)


@dataclass(frozen=True, slots=True)
class Ports:
    weir: int
    admin: int
    primary: int
    replicas: tuple[int, ...] = ()  # instances of the shop on a Postgres that follows the primary's
    has_pooler: bool = False


class Transcript:
    """Prints, and keeps the names of the expectations that were not met."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.failures: list[str] = []

    def chapter(self, title: str) -> None:
        self.console.print(f"\n[bold]{title}[/]", soft_wrap=True)

    def show(self, answer: Answer, *names: str, note: str = "") -> Answer:
        """One line: method, target, status, milliseconds, the fields of these names, a remark."""
        line = Text("  ")
        line.append(f"{answer.method:<5}", "bold").append(f"{answer.target:<32} ")
        line.append(f"{answer.status or '---'} ", _colour(answer.status))
        line.append(f"{answer.elapsed_s * 1000:7.1f} ms  ")
        for name in names if answer.status else ("error",):
            if value := answer.field(name):
                line.append(f"{name}: ", "dim").append(value, "cyan").append("  ")
        line.append(note, "italic")
        line.rstrip()
        self.console.print(line, soft_wrap=True)
        return answer

    def say(self, text: str) -> None:
        self.console.print(f"  [dim]{text}[/]", soft_wrap=True)

    def document(self, answer: Answer) -> None:
        self.say(answer.field("Content-Type"))
        for line in JSON.from_data(answer.json()).text.split():
            self.console.print(Text("  ") + line, soft_wrap=True)  # not wrapped: a line of JSON stays one

    def component(self, component: dict[str, Any], depth: int = 1) -> None:
        """One line for a part of the health report, and one for each part of the part."""
        title = component.get("name") or component.get("address")
        line = Text("  " * depth).append("● ", "green" if component["healthy"] else "bold red").append(f"{title:<16}")
        for name, value in component.items():
            if name == "roles":
                line.append("  " + ", ".join(value))
            elif name not in ("name", "address", "healthy") and isinstance(value, str | int | float):
                line.append(f"  {name} ", "dim").append(str(value))
        self.console.print(line, soft_wrap=True)
        for endpoint in component.get("endpoints", ()):
            self.component(endpoint, depth + 1)

    def expect(self, name: str, holds: object) -> None:
        """`name` says what should be true. When it is not, it is shown here and again at the end."""
        if not holds:
            self.failures.append(name)
            self.console.print(f"  [bold red]✗ expected: {name}[/]", soft_wrap=True)


def play(transcript: Transcript, ports: Ports, tokens: tuple[str, str]) -> None:
    """Every chapter in turn. `tokens` are those of ana and ben."""
    ana, ben = tokens
    _show_cache(transcript, ports)
    _show_dashboard(transcript, ports)
    _show_replicas(transcript, ports)
    _show_write(transcript, ports, ana)
    if ports.replicas:
        _show_replication(transcript, ports)
    _show_user_limit(transcript, ports, ana, ben)
    _show_login_limit(transcript, ports)
    _show_websocket(transcript, ports)
    _show_health(transcript, ports)


def sign_in(ports: Ports, user: str, password: str) -> str:
    """A token from the shop itself: through Weir it would count as one of the five tries that are shown later."""
    answer = ask(ports.primary, "POST", "/api/login", content={"user": user, "password": password})
    return str(answer.json().get("token", ""))


def _show_cache(transcript: Transcript, ports: Ports) -> None:
    transcript.chapter("A page of the catalogue, twice: the backend is asked once")
    target = "/api/products?category=kitchen"
    first, second = (
        transcript.show(ask(ports.weir, "GET", target), "Cache-Status", "Age", "X-Served-By") for _ in range(2)
    )
    transcript.expect(
        "the first catalogue page is a miss", first.status == 200 and "fwd=" in first.field("Cache-Status")
    )
    transcript.expect("the second catalogue page is a hit", second.status == 200 and _is_hit(second))
    transcript.expect("the hit has the content of the miss", first.content and first.content == second.content)


def _show_dashboard(transcript: Transcript, ports: Ports) -> None:
    transcript.chapter("A page that the backend takes long to compute: Weir has asked for it before anybody else does")
    target = "/api/dashboard/sales-summary"
    deadline = monotonic() + PRECOMPUTED_WITHIN_S
    while ask(ports.weir, "GET", target, only_stored=True).status == 504 and monotonic() < deadline:
        sleep(0.2)  # Weir has only just started
    answers = [transcript.show(ask(ports.weir, "GET", target), "Cache-Status", "Age") for _ in range(3)]
    computed = transcript.show(ask(ports.primary, "GET", target), note="the backend itself")
    transcript.expect("the dashboard is there before anybody asks", all(_is_hit(answer) for answer in answers))
    fastest_s = min(answer.elapsed_s for answer in answers)
    transcript.expect(
        "the stored dashboard is ten times faster", computed.status == 200 and fastest_s * 10 < computed.elapsed_s
    )


def _show_replicas(transcript: Transcript, ports: Ports) -> None:
    transcript.chapter("Reads that are not cached go to the replicas")
    answers = [transcript.show(ask(ports.weir, "GET", f"/api/stores/{n}"), "X-Served-By") for n in range(1, 5)]
    seen = {answer.field("X-Served-By") for answer in answers}
    transcript.expect("stores are answered with 200", all(answer.status == 200 for answer in answers))
    transcript.expect("both replicas answer reads, and only they", seen == {"replica-1", "replica-2"})


def _show_write(transcript: Transcript, ports: Ports, token: str) -> None:
    transcript.chapter("Writes go to the primary, and so do reads that must see them")
    refused = transcript.show(ask(ports.weir, "GET", "/api/orders"), "WWW-Authenticate", note="no token")
    transcript.expect("orders without a token are refused by Weir", refused.status == 401)
    transcript.expect("the refusal did not reach the backend", not refused.field("X-Served-By"))
    order = {"sku": "SKU-0042", "quantity": 1}
    bought = transcript.show(ask(ports.weir, "POST", "/api/buy", content=order, token=token), "X-Served-By")
    orders = transcript.show(ask(ports.weir, "GET", "/api/orders", token=token), "X-Served-By", "Cache-Status")
    transcript.expect("the purchase is made", bought.status == 201)
    transcript.expect("the primary makes it", bought.field("X-Served-By") == "primary")
    transcript.expect("the primary lists the orders", orders.field("X-Served-By") == "primary")
    numbers = [item["number"] for item in orders.json().get("items", ())]
    transcript.expect("the list has the purchase", bought.json().get("number") in numbers)


def _show_replication(transcript: Transcript, ports: Ports) -> None:
    transcript.chapter("The shop's data is in Postgres, and its replicas follow: the purchase, on each instance")
    target = "/api/products/42"
    bought = transcript.show(ask(ports.primary, "GET", target), "X-Served-By", note=f"on {ports.primary}")
    stock = bought.json().get("stock")
    transcript.expect("the primary has the product", isinstance(stock, int))
    for port in ports.replicas:
        deadline = monotonic() + REPLICATION_S
        while (seen := ask(port, "GET", target)).json().get("stock") != stock and monotonic() < deadline:
            sleep(0.01)
        transcript.show(seen, "X-Served-By", note=f"on {port}, stock {seen.json().get('stock')}")
        transcript.expect(f"{seen.field('X-Served-By') or port} has the purchase", seen.json().get("stock") == stock)


def _show_user_limit(transcript: Transcript, ports: Ports, ana: str, ben: str) -> None:
    transcript.chapter(f"{AI_LIMIT} AI calls a minute for each user: ana's run out, ben's do not")
    names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After")
    question = {"text": DESCRIPTION, "sentences": 1}

    def describe(token: str) -> Answer:
        return ask(ports.weir, "POST", "/api/ai/describe", content=question, token=token)

    transcript.show(describe(ana), note="ana")
    admitted = 1
    # On a slow machine some of the quota comes back meanwhile, one call every three seconds.
    while (last := describe(ana)).status == 200 and admitted < 2 * AI_LIMIT:
        admitted += 1
    transcript.say(f"... {admitted - 1} more, all admitted")
    transcript.show(last, *names, note="ana")
    other = transcript.show(describe(ben), note="ben")
    transcript.expect(f"ana is admitted {AI_LIMIT} times", AI_LIMIT <= admitted < 2 * AI_LIMIT)
    transcript.expect("ana is then denied with 429 and Retry-After", last.status == 429 and last.field("Retry-After"))
    transcript.expect("ben is admitted from the same address", other.status == 200)


def _show_login_limit(transcript: Transcript, ports: Ports) -> None:
    transcript.chapter(f"{LOGIN_LIMIT} logins in 15 minutes: guessing passwords ends early")
    names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After")

    def sign_in_as_ana(password: str) -> Answer:
        form = {"user": "ana", "password": password}
        return transcript.show(ask(ports.weir, "POST", "/api/login", content=form), *names)

    guesses = [sign_in_as_ana(f"guess {n}") for n in range(LOGIN_LIMIT)]
    denied = sign_in_as_ana("correct horse")
    transcript.expect("wrong passwords get 401", all(answer.status == 401 for answer in guesses))
    counted = [answer.field("X-RateLimit-Remaining") for answer in guesses]
    transcript.expect("what remains is counted down to 0", counted == ["4", "3", "2", "1", "0"])
    transcript.expect("the sixth login gets 429, though its password is right", denied.status == 429)
    transcript.expect("the denial names the limit", denied.field("X-RateLimit-Limit") == str(LOGIN_LIMIT))
    transcript.expect("nothing remains", denied.field("X-RateLimit-Remaining") == "0")
    # The window is counted in sixteenths, and what is in the oldest comes back when all of it has passed.
    transcript.expect("Retry-After is some 15 minutes", _is_between(denied.field("Retry-After"), 800, 960))
    transcript.document(denied)
    is_problem = denied.field("Content-Type") == "application/problem+json" and denied.json().get("status") == 429
    transcript.expect("the denial is a problem document", is_problem)


def _show_websocket(transcript: Transcript, ports: Ports) -> None:
    transcript.chapter("A WebSocket passes through")
    answer, heard = echo_over_websocket(ports.weir, "/ws", "hello through the weir")
    transcript.show(answer, "Upgrade", "X-Served-By", note=f"echo: {heard}" if heard else "")
    transcript.expect("the WebSocket opens", answer.status == 101)
    transcript.expect("the WebSocket echoes", heard == "hello through the weir")


def _show_health(transcript: Transcript, ports: Ports) -> None:
    transcript.chapter("And how is Weir itself?")
    answer = transcript.show(ask(ports.admin, "GET", "/healthz"), note=f"on the admin port, {ports.admin}")
    components = answer.json().get("components", [])
    for component in components:
        transcript.component(component)
    transcript.expect("Weir is healthy", answer.status == 200 and answer.json().get("status") == "healthy")
    healthy = [item["name"] for item in components if item["healthy"]]
    transcript.expect("the store, the upstream and the cache are among its parts", _PARTS <= set(healthy))
    if ports.has_pooler:
        transcript.expect("PgBouncer tells of its pools", "database" in healthy)


def _is_hit(answer: Answer) -> bool:
    return "hit" in _words(answer.field("Cache-Status"))


def _words(cache_status: str) -> Iterable[str]:
    return (word.strip() for word in cache_status.split(";"))


def _is_between(text: str, least: int, most: int) -> bool:
    return text.isdigit() and least <= int(text) <= most


def _colour(status: int) -> str:
    if status == 0 or status >= 500:
        return "bold red"
    return "yellow" if status >= 400 else "green"
