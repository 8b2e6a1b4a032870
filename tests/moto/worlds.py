"""The state that a test may set in its own AWS account: one `World` per account, nothing shared."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import faults


def now() -> datetime:
    """Returns the time in the form that moto uses: UTC without a zone."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def ago(seconds: float) -> datetime:
    return now() - timedelta(seconds=seconds)


@dataclass
class Fault:
    """A failure of a call. `server.Faulty` shows in which order the fields apply."""

    action: str  # an API action, or "*"
    code: str | None = None  # AWS's error code
    message: str = "injected by the test"
    status: int = 400
    times: int | None = 1  # None: always
    skip: int = 0  # let so many matching calls pass first
    after: str = "before"  # "before": never done; "applied": done, but the answer is lost
    hang_ms: int = 0
    drop: bool = False  # close the connection without an answer
    body: str | None = None  # answer 200 with this text instead
    cut: float | None = None  # with "applied": only this share of the answer arrives
    announced: bool = False  # ... with the Content-Length of the complete answer
    name: str | None = None  # for the log of calls
    match: dict[str, str] = field(default_factory=dict)  # parameter (or "tag:KEY") -> pattern

    def wants(self, action: str, params: dict[str, str]) -> bool:
        """Whether this fault applies to the call. A matching call uses up one `skip` or `times`."""
        if self.action not in ("*", action) or self.times == 0:
            return False
        seen = {**params, **requested_tags(params)}
        if not all(fnmatch.fnmatchcase(seen.get(k, ""), p) for k, p in self.match.items()):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


def requested_tags(params: dict[str, str]) -> dict[str, str]:
    """Returns the tags that a call requests, as `tag:KEY`."""
    tags = {}
    for name, value in params.items():
        if name.startswith("Tag") and name.endswith(".Key"):
            tags[f"tag:{value}"] = params.get(name.removesuffix("Key") + "Value", "")
    return tags


@dataclass
class Rules:
    """How EC2 behaves in this account. A test changes any of them at any time."""

    # When a spot request is fulfilled: "at-once", never ("held"), or {"after": n} describe calls.
    spot: Any = "at-once"
    # The status of held requests, and for how long they have had it.
    held_code: str = "pending-evaluation"
    held_age_s: float = 0
    # "ZONE/TYPE" (patterns) -> instances left; other pools are unlimited.
    capacity: dict[str, int] = field(default_factory=dict)
    # "ZONE/TYPE" (patterns) -> the status code with which requests there fail at once.
    doomed: dict[str, str] = field(default_factory=dict)
    # "ZONE/TYPE" (patterns): types that a zone does not offer. Requests there fail after some seconds.
    not_offered: list[str] = field(default_factory=list)
    not_offered_after_s: float = 2
    # Image -> devices whose volumes outlive their instance, unless its launch says otherwise.
    lasting_devices: dict[str, list[str]] = field(default_factory=dict)
    # Settings of the account, as EC2 names them: of GetInstanceMetadataDefaults ...
    metadata_defaults: dict[str, Any] = field(default_factory=dict)
    # ... GetAllowedImagesSettings (the state, and the images that are allowed if it is not "disabled") ...
    allowed_images: str = "disabled"
    allowed_image_ids: list[str] = field(default_factory=list)
    # ... GetDefaultCreditSpecification (family -> credits, "unlimited" if absent, but for t2).
    default_credits: dict[str, str] = field(default_factory=dict)
    # Subnet or security group -> the account that owns it and shares it with this one.
    owners: dict[str, str] = field(default_factory=dict)
    # Without capacity: "hold" the request open, or "refuse" the call.
    no_capacity: str = "hold"
    # The maximum size of a page, whatever MaxResults requests.
    page_size: int | None = None
    # "ZONE/TYPE" (patterns) -> USD per hour, or None for no price; other pools cost 0.01.
    spot_prices: dict[str, float | None] = field(default_factory=dict)
    # The number of describe calls that show a new instance `pending`, a terminated one `shutting-down`.
    pending_looks: int = 0
    shutting_down_looks: int = 0
    # The number of describe calls that do not show a new instance or request at all.
    lag_looks: int = 0
    # Instances do not name their spot requests; only the requests name their instances.
    anonymous_requests: bool = False
    # The next n cancelled requests turn out to have been fulfilled just before.
    fulfil_on_cancel: int = 0
    # EC2 does not know any instance profile yet.
    profiles_lag: bool = False
    # Every description of the spot requests shows one more, which somebody made under this key-name.
    arrivals_key_name: str | None = None
    # action -> [refill per second, burst]
    throttle: dict[str, list[float]] = field(default_factory=dict)
    # Calls that fail by chance: the arguments of `faults.Dice`. `clear` removes them.
    dice: dict[str, Any] | None = None
    # The age at which terminated instances and ended requests are forgotten.
    forget_after_s: float | None = None


class Bucket:
    """A token bucket, EC2's method of throttling.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self.left, self.at = burst, time.monotonic()

    def take(self) -> bool:
        moment = time.monotonic()
        self.left = min(self.burst, self.left + (moment - self.at) * self.rate)
        self.at = moment
        if self.left < 1:
            return False
        self.left -= 1
        return True


class World:
    """One account: its rules, its faults to come, and a log of its calls."""

    def __init__(self, account: str) -> None:
        self.account = account
        # Held while moto works on the account, because moto is not thread-safe.
        self.lock = threading.RLock()
        self.rules = Rules()
        self.faults: list[Fault] = []
        self.calls: list[dict[str, Any]] = []
        self.released = threading.Event()  # ends all hanging calls
        # The policy of each access key. A key without one may do everything.
        self.policies: dict[str, Any] = {}
        self.not_modelled: list[str] = []
        # Worker type, or "*" for all -> the peak of open requests and live instances.
        self.peaks: dict[str, int] = {}
        self._buckets: dict[str, Bucket] = {}
        self._dice: faults.Dice | None = None
        self._decks: dict[str, list[str]] = {}

    def settle(self, rules: dict[str, Any]) -> None:
        with self.lock:
            for name, value in rules.items():
                if not hasattr(self.rules, name):
                    raise ValueError(f"no such rule: {name}")
                setattr(self.rules, name, value)
                if name == "throttle":
                    self._buckets.clear()
                if name == "dice":
                    self._dice = faults.Dice(**value, decks=self._decks) if value else None
                    self.released.clear()

    def clear(self) -> None:
        """Removes all faults, and lets hanging calls continue."""
        with self.lock:
            self.faults.clear()
            self.settle({"dice": None})
            self.released.set()

    def fault_for(self, service: str, action: str, params: dict[str, str]) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.wants(action, params):
                    return fault
            if action in self.rules.throttle:
                rate, burst = self.rules.throttle[action]
                bucket = self._buckets.setdefault(action, Bucket(rate, burst))
                if not bucket.take():
                    return Fault(action, "RequestLimitExceeded", "Request limit exceeded.", 503)
            if self._dice and (drawn := self._dice.draw(service, action)):
                return Fault(**drawn)
        return None

    def note_peaks(self, worker_types: list[str]) -> None:
        """Records the peaks, given the worker type of every open request and live instance."""
        counts = Counter(worker_types)
        counts["*"] = len(worker_types)
        for name, count in counts.items():
            self.peaks[name] = max(count, self.peaks.get(name, 0))

    def capacity_key(self, zone: str, instance_type: str) -> str | None:
        """Returns the capacity rule that applies to this pool, if any."""
        return next(iter(self._rules_of(self.rules.capacity, zone, instance_type)), None)

    def doom(self, zone: str, instance_type: str) -> str | None:
        """Returns the status code with which requests to this pool fail, if they do."""
        found = self._rules_of(self.rules.doomed, zone, instance_type)
        return self.rules.doomed[found[0]] if found else None

    def offers(self, zone: str, instance_type: str) -> bool:
        """Returns whether the zone offers the instance type."""
        pool = f"{zone}/{instance_type}"
        return not any(fnmatch.fnmatchcase(pool, p) for p in self.rules.not_offered)

    def spot_price(self, zone: str, instance_type: str) -> float | None:
        """Returns the current price of an instance-hour in this pool."""
        found = self._rules_of(self.rules.spot_prices, zone, instance_type)
        return self.rules.spot_prices[found[0]] if found else 0.01

    @staticmethod
    def _rules_of(rules: dict[str, Any], zone: str, instance_type: str) -> list[str]:
        return [p for p in rules if fnmatch.fnmatchcase(f"{zone}/{instance_type}", p)]


_worlds: dict[str, World] = {}
_worlds_lock = threading.Lock()


def of(account: str) -> World:
    with _worlds_lock:
        if account not in _worlds:
            _worlds[account] = World(account)
        return _worlds[account]
