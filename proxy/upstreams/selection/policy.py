"""What a selection policy sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """An endpoint that may be picked."""

    @property
    def load(self) -> int:
        """Exchanges that it has or that wait for it."""


CandidateT = TypeVar("CandidateT", bound=Candidate)


class Turn(Protocol):
    """What a policy remembers: the position that was picked last. Kept while the candidates come and go."""

    turn: int


class Pick(Protocol):
    """The shape of a policy. `candidates` is never empty."""

    def __call__(self, candidates: Sequence[CandidateT], state: Turn) -> CandidateT: ...
