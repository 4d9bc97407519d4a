"""What alive, ready and healthy mean.

- Alive: the event loop answers. Nothing else: a probe that restarts Weir must not fire because a backend is down.
- Ready: the configuration is loaded, the listeners are open, and Weir is not draining. A store or an upstream that is
  away does not make it unready: Weir still limits (locally), serves what is stored and answers with a reason, and an
  orchestrator that took all replicas out for a shared fault would turn a part of an outage into a whole one.
- Healthy: every component is. For dashboards and people; 503 means "look", never "restart".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.observe.redact import clean, hide_credentials

MAX_AGE_S: Final = 1.0  # of a report: any number of probes costs one check a second
TIMEOUT_S: Final = 2.0


class Component(NamedTuple):
    """One part of Weir. `detail` is printed: numbers and short text, such as {"latency_ms": 0.4}."""

    name: str
    is_healthy: bool
    detail: dict[str, Any]


class Health(Protocol):
    """What the admin listener asks of the composition root."""

    def is_started(self) -> bool:
        """The configuration is loaded and every listener is open."""

    def is_draining(self) -> bool:
        """No new work is wanted."""

    async def components(self) -> Sequence[Component]:
        """Look at every component now. May wait (a ping to the store); is given TIMEOUT_S."""


class Report(NamedTuple):
    """The answer of /healthz."""

    is_healthy: bool
    document: dict[str, Any]


class CachedReport:
    """At most one look at the components at a time, and at most one a second."""

    __slots__ = ("_clock", "_health", "_made_at", "_report", "_task")

    def __init__(self, health: Health, clock: Callable[[], float] = monotonic) -> None:
        self._health = health
        self._clock = clock
        self._report: Report | None = None
        self._made_at = 0.0
        self._task: asyncio.Task[Any] | None = None

    async def get(self) -> Report:
        """The report, at most MAX_AGE_S old. Waits at most about TIMEOUT_S; a caller that leaves stops nothing."""
        if self._report is None or self._clock() - self._made_at >= MAX_AGE_S:
            if self._task is None:
                self._task = spawn(self._refresh(), name="health report")
            await asyncio.shield(self._task)
        assert self._report is not None
        return self._report

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                components: Sequence[Component] = await self._health.components()
        except TimeoutError:
            components = [Component("health", False, {"error": "the components did not answer in time"})]
        except Exception as error:
            components = [Component("health", False, {"error": type(error).__name__})]
        finally:
            self._task = None
        self._report = make_report(components, self._health)
        self._made_at = self._clock()


def unready_reason(health: Health) -> str | None:
    """Why no new requests should be sent here, or None."""
    if not health.is_started():
        return "starting"
    return "draining" if health.is_draining() else None


def make_report(components: Sequence[Component], health: Health) -> Report:
    is_healthy = all(component.is_healthy for component in components)
    return Report(
        is_healthy,
        {
            "status": "healthy" if is_healthy else "degraded",
            "ready": unready_reason(health) is None,
            "components": [
                {"name": component.name, "healthy": component.is_healthy} | _printable(component.detail)
                for component in components
            ],
        },
    )


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    if isinstance(value, float):
        return round(value, 3)
    return value if isinstance(value, bool | int) or value is None else clean(hide_credentials(str(value)))
