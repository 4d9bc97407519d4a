"""What goes wrong with a store, in the operator's words."""

from __future__ import annotations

from typing import Final, NamedTuple

_LONGEST: Final = 200  # characters of the server's own words


class StoreLost(Exception):
    """The store did not decide. The text is for the operator and has no secrets.

    `drops`: this connection is of no use any more; the next one may find another server or be let in.
    `word`: what the server's error began with, if it was one.
    """

    def __init__(self, text: str, *, word: str = "", drops: bool = True) -> None:
        super().__init__(text)
        self.word = word
        self.drops = drops


class _Meaning(NamedTuple):
    text: str
    drops: bool


_ONE_OF_A_CLUSTER: Final = "the store is a node of a cluster; write redis+cluster:// in its address"
_MEANINGS: Final[dict[str, _Meaning]] = {
    "LOADING": _Meaning("the store is starting and reads its data", True),
    "READONLY": _Meaning("the store is read only: a replica, or a master that was replaced", True),
    "MASTERDOWN": _Meaning("the store is a replica that has lost its master", True),
    "NOAUTH": _Meaning("the store wants a password", True),
    "WRONGPASS": _Meaning("the store does not accept this user and password", True),
    "NOPERM": _Meaning("the store's user lacks a permission", False),
    "OOM": _Meaning("the store has used its maxmemory and takes nothing new", False),
    "BUSY": _Meaning("the store is held up by a script that does not end", False),
    "UNKILLABLE": _Meaning("the store is held up by a script that cannot be stopped", False),
    "MISCONF": _Meaning("the store refuses to write because it cannot save to its disk", False),
    "NOREPLICAS": _Meaning("the store refuses to write without its replicas", False),
    "CLUSTERDOWN": _Meaning("the cluster is down: some of its hash slots have no master", True),
    "MOVED": _Meaning(_ONE_OF_A_CLUSTER, True),
    "ASK": _Meaning(_ONE_OF_A_CLUSTER, True),
    "TRYAGAIN": _Meaning("the cluster is moving this hash slot", False),
    "CROSSSLOT": _Meaning(_ONE_OF_A_CLUSTER, True),
}


def explain(said: str) -> StoreLost:
    """An error reply as what it means. `said` begins with the server's word for it, without the minus."""
    said = " ".join(said.split())
    word = said.partition(" ")[0]
    if word not in _MEANINGS:  # older servers put the error of a command inside that of the script
        word = next((known for known in _MEANINGS if f"-{known} " in said), word)
    meaning = _MEANINGS.get(word)
    if meaning is None:
        return StoreLost(f"the store refused: {said[:_LONGEST]}", word=word, drops=False)
    return StoreLost(f"{meaning.text} ({said[:_LONGEST]})", word=word, drops=meaning.drops)
