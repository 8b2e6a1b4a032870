"""Calls that go wrong by chance, in every way that `worlds.Fault` knows.

A `Dice` has a percentage of failing calls for those that only read, and one for those that change
something, which are few. The way in which a call fails comes from a shuffled deck, one per action, so
that every action meets every way before it meets one again. All chance is derived from a seed; the order
of the calls is the program's own.
"""

from __future__ import annotations

import random
from typing import Any

# Maps each way to the fields of its `Fault`. The times are those of the dice: "hang" outlasts the timeout
# of the caller, "slow" does not.
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
    # The call is done, but only after the caller has given up.
    "done-late": {"hang": "hang"},
    "garbled": {"body": "<html>not what was asked"},
    "garbled-though-done": {"body": "<html>not what was asked", "after": "applied"},
    # The first is how a proxy passes on an incomplete answer, the second a broken connection.
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
    """Returns all ways in which a call of this action can go wrong."""
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
        # Only a share of the hanging calls outlasts the caller, or an hour would pass with waiting.
        self.outlast = outlast
        # The decks of the previous dice, because a program that restarts often would otherwise meet few ways.
        self.decks: dict[str, list[str]] = {} if decks is None else decks

    def draw(self, service: str, action: str) -> dict[str, Any] | None:
        """Returns the fields of a `Fault`, or `None` if the call is to succeed."""
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
