"""Calls that go wrong by chance, in every way that `worlds.Fault` knows.

A `Dice` says how many calls in a hundred go wrong, of those that look and of those that change
something, which are few. How each of them does comes from a shuffled deck, one per action, so that
every action meets every way before it meets one again. All chance is from a seed; which call comes
when is the program's own doing.
"""

from __future__ import annotations

import random
from typing import Any

# way -> what to a `Fault` makes it. Times are the dice's own: "hang" outlasts the caller's patience,
# "slow" does not.
ANY: dict[str, dict[str, Any]] = {
    "internal-error": {"code": "InternalError", "status": 500},
    "internal-error-though-done": {"code": "InternalError", "status": 500, "after": "applied"},
    "unavailable": {"code": "ServiceUnavailable", "status": 503},
    "unavailable-though-done": {"code": "ServiceUnavailable", "status": 503, "after": "applied"},
    "throttled": {"code": "RequestLimitExceeded", "status": 503},
    "closed": {"drop": True},
    "closed-though-done": {"drop": True, "after": "applied"},
    "slow": {"hang": "slow"},
    "hung": {"hang": "hang", "drop": True},
    "hung-though-done": {"hang": "hang", "drop": True, "after": "applied"},
    # Nobody waits for the answer any more, and yet it is done.
    "done-late": {"hang": "hang"},
    "garbled": {"body": "<html>not what was asked"},
    "garbled-though-done": {"body": "<html>not what was asked", "after": "applied"},
    # As a proxy hands on what it got, and as it comes when the line breaks.
    "cut-off": {"cut": 0.6, "after": "applied"},
    "broken-off": {"cut": 0.6, "after": "applied", "announced": True},
}
EC2: dict[str, dict[str, Any]] = {
    "unauthorized": {"code": "UnauthorizedOperation", "status": 403},
    "credentials": {"code": "AuthFailure", "status": 401},
    "unheard-of": {"code": "SomethingNew", "status": 400},
}
LAUNCH: dict[str, dict[str, Any]] = {
    "no-capacity": {"code": "InsufficientInstanceCapacity", "status": 500},
    "over-quota": {"code": "MaxSpotInstanceCountExceeded", "status": 400},
}


LOOKS = ("Describe", "Get", "List")


def ways_of(service: str, action: str) -> dict[str, dict[str, Any]]:
    """All ways in which a call of this action can go wrong."""
    ways = dict(ANY)
    if service == "ec2":
        ways |= EC2
    if action == "RequestSpotInstances":
        ways |= LAUNCH
    return ways


class Dice:
    """Draws which calls go wrong, and how."""

    def __init__(
        self,
        seed: int,
        per_cent: float = 1.0,
        changes_per_cent: float | None = None,
        slow_ms: int = 1_000,
        hang_ms: int = 40_000,
        outlast: float = 1.0,
        decks: dict[str, list[str]] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.per_cent = per_cent
        self.changes_per_cent = per_cent if changes_per_cent is None else changes_per_cent
        self.slow_ms, self.hang_ms = slow_ms, hang_ms
        # Not every call that hangs hangs for so long: an hour would pass with waiting.
        self.outlast = outlast
        # Those of the dice before, or a program that is often started anew would meet few ways.
        self.decks: dict[str, list[str]] = {} if decks is None else decks

    def draw(self, service: str, action: str) -> dict[str, Any] | None:
        """What a `Fault` is made from, or nothing: the call goes well."""
        looks = action.startswith(LOOKS)
        if self.random.random() * 100 >= (self.per_cent if looks else self.changes_per_cent):
            return None
        ways = ways_of(service, action)
        deck = self.decks.setdefault(action, [])
        if not deck:
            deck.extend(sorted(ways))
            self.random.shuffle(deck)
        name = deck.pop()
        how = dict(ways[name])
        if wait := how.pop("hang", None):
            outlasts = wait == "hang" and self.random.random() < self.outlast
            how["hang_ms"] = self.hang_ms if outlasts else self.slow_ms
        return {"action": action, "name": name, **how}
