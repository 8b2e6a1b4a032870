"""Adds to moto the behaviour of EC2 that it lacks, for the calls that this project makes.

Each section replaces methods of moto's response or model classes; the pinned version makes that
safe. `install()` puts all of them in place. Each method names the page on which AWS describes it.
"""

from __future__ import annotations

import base64
import copy
import functools
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import worlds
from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import EC2ClientError, InvalidInstanceIdError
from moto.ec2.models.amis import Ami
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, Reservation, StateReason
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.key_pairs import KeyPairs
from moto.ec2.responses.settings import Settings
from moto.ec2.responses.spot_instances import SpotInstances
from moto.ec2.responses.tags import TagResponse
from moto.ec2.utils import filter_iam_instance_profiles, random_spot_request_id

# --- shared by all sections ---------------------------------------------------------------------


def refuse(code: str, message: str) -> None:
    raise EC2ClientError(code, message)


def tags_of(backend: Any, resource_id: str) -> dict[str, str]:
    return dict(backend.tags.get(resource_id, {}))


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@functools.cache
def pattern(value: str) -> re.Pattern[str]:
    """Compiles a filter value: `*` is any text, `?` any character, and a backslash makes either literal.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html#api_filters
    """
    out = []
    escaped = False
    for char in value:
        if escaped:
            out.append(re.escape(char))
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            out.append({"*": ".*", "?": "."}.get(char) or re.escape(char))
    return re.compile("".join(out), re.DOTALL)


def filters_of(response: Any, known: set[str]) -> dict[str, list[str]]:
    """Returns the filters of a call. Refuses an unknown filter, as EC2 does."""
    filters = response._filters_from_querystring()
    for name in filters:
        if name not in known and name != "tag-key" and not name.startswith("tag:"):
            refuse("InvalidParameterValue", f"The filter '{name}' is invalid")
    return filters


def passes(filters: dict[str, list[str]], fields: dict[str, Any], tags: dict[str, str]) -> bool:
    """Whether an item passes all filters. A filter passes if one of its values matches."""
    for name, wanted in filters.items():
        if name.startswith("tag:"):
            found = [tags[name[4:]]] if name[4:] in tags else []
        elif name == "tag-key":
            found = list(tags)
        else:
            value = fields[name]
            found = value if isinstance(value, list) else [value]
        if not any(pattern(w).fullmatch(str(f)) for w in wanted for f in found if f is not None):
            return False
    return True


def page(
    response: Any, world: worlds.World, items: list[tuple[int, Any]]
) -> tuple[list, str | None]:
    """Returns one page of numbered items, and the token of the next.

    The token names the last item of the page and not an offset, so that a page stays right when items
    come and go between two calls. A page has 5 to 1000 items, which are instances and not reservations.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
    """
    asked = response._get_param("MaxResults")
    if asked is not None and not 5 <= int(asked) <= 1000:
        refuse(
            "InvalidParameterValue",
            f"Value ( {asked} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.",
        )
    size = min(int(asked or 1000), world.rules.page_size or 1000)
    start = -1
    if token := response._get_param("NextToken"):
        try:
            start = int(base64.b64decode(token, validate=True))
        except ValueError:
            refuse("InvalidNextToken", "The token is not valid")
    rest = [(number, item) for number, item in items if number > start]
    token = base64.b64encode(str(rest[size - 1][0]).encode()).decode() if len(rest) > size else None
    return [item for _, item in rest[:size]], token


def hidden_looks(world: worlds.World) -> int:
    """Returns with which describe call a new item becomes visible, 0 if it is visible at once."""
    return world.rules.lag_looks + 1 if world.rules.lag_looks else 0


# The longest lag. EC2's lag is a matter of time, so a caller that describes seldom meets no longer one.
LONGEST_LAG_S = 60


def come_to_light(item: Any, made: datetime) -> None:
    """Counts one describe call for a new item that is not visible yet."""
    if item.hidden_looks:
        item.hidden_looks = item.hidden_looks - 1 if made > worlds.ago(LONGEST_LAG_S) else 0


# --- tags --------------------------------------------------------------------------------------
# moto searches the tags of all items for those of one, which is quadratic with many instances.


def get_tags(self: Any) -> list[dict[str, str]]:
    return [{"key": k, "value": v} for k, v in tags_of(self.ec2_backend, self.id).items()]


_create_tags = TagResponse.create_tags


def create_tags(self: TagResponse) -> ActionResult:
    """Refuses to tag a resource that does not exist or is not visible yet."""
    for resource in self._get_param("Resources", []):
        if resource.startswith("i-"):
            visible_instances(self.ec2_backend, [resource])
        if resource.startswith("sir-"):
            visible_requests(self.ec2_backend, [resource])
    return _create_tags(self)


# --- key pairs ---------------------------------------------------------------------------------


def delete_key_pair(self: KeyPairs) -> ActionResult:
    """Deletes a key pair by name or id. A missing one is not an error.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteKeyPair.html
    """
    backend = self.ec2_backend
    name, pair_id = self._get_param("KeyName"), self._get_param("KeyPairId")
    if name is None:
        name = next((k.key_name for k in backend.key_pairs.values() if k.id == pair_id), None)
    self.error_on_dryrun()
    pair = backend.delete_key_pair(name)
    if pair:
        backend.tags.pop(pair.id, None)
    return ActionResult({"Return": True, "KeyPairId": pair.id if pair else pair_id})


# --- instances ---------------------------------------------------------------------------------
# These are moto's instances, with EC2's intermediate states and lag added.


def all_instances(backend: Any) -> list[Instance]:
    return [i for r in list(backend.reservations.values()) for i in r.instances]


def dress(instance: Instance) -> None:
    """Applies the rules of the account to a new instance."""
    world = worlds.of(instance.owner_id)
    backend = instance.ec2_backend
    backend._numbered = instance.number = getattr(backend, "_numbered", 0) + 1
    instance.hidden_looks = hidden_looks(world)
    instance.made = worlds.now()
    instance.state_looks = world.rules.pending_looks
    instance.spot_instance_request_id = None
    # An address of this machine, so that a worker can ask from there: 127.0.0.2 and so on.
    address = f"127.0.{(instance.number + 1) // 256}.{(instance.number + 1) % 256}"
    nic = instance.nics[0]
    nic.private_ip_address = address
    for private in nic.private_ip_addresses:
        private["PrivateIpAddress"] = address
    if instance.state_looks:
        instance._state.name, instance._state.code = "pending", 0


_instance_init = Instance.__init__


def instance_init(self: Instance, *args: Any, **kwargs: Any) -> None:
    _instance_init(self, *args, **kwargs)
    dress(self)


def forget_the_ended(backend: Any) -> None:
    """Drops terminated instances and ended requests, which EC2 shows only for a while."""
    age = worlds.of(backend.account_id).rules.forget_after_s
    if age is None:
        return
    then = worlds.ago(age)
    for reservation in list(backend.reservations.values()):
        kept = [
            i
            for i in reservation.instances
            if i._state.name != "terminated" or getattr(i, "ended", then) >= then
        ]
        if not kept:
            backend.reservations.pop(reservation.id)
        reservation.instances = kept
    for request in list(backend.spot_instance_requests.values()):
        if request.state not in ("open", "active") and request.status_time < then:
            if request.instance is None or not is_live(request.instance):
                backend.spot_instance_requests.pop(request.id)
                backend.tags.pop(request.id, None)


def is_live(instance: Instance) -> bool:
    return instance._state.name not in ("terminated", "shutting-down")


def look_at_instances(backend: Any) -> None:
    """Counts one describe call.

    Lag runs out, `pending` becomes `running`, and `shutting-down` becomes `terminated`.
    """
    forget_the_ended(backend)
    for instance in all_instances(backend):
        come_to_light(instance, instance.made)
        if instance.hidden_looks == 0 and instance._state.name in ("pending", "shutting-down"):
            if instance.state_looks:
                instance.state_looks -= 1
            elif instance._state.name == "pending":
                instance._state.name, instance._state.code = "running", 16
            else:
                instance._state.name, instance._state.code = "terminated", 48


def visible_instances(backend: Any, ids: list[str]) -> list[Instance]:
    """Returns the named instances. One that is unknown or not visible yet fails the call."""
    known = {i.id: i for i in all_instances(backend) if not i.hidden_looks}
    for instance_id in ids:
        if not re.fullmatch("i-[0-9a-f]{8,17}", instance_id):
            refuse("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
    if missing := [i for i in ids if i not in known]:
        raise InvalidInstanceIdError(missing)
    return [known[i] for i in dict.fromkeys(ids)]


INSTANCE_FILTERS = {
    "architecture", "availability-zone", "client-token", "iam-instance-profile.arn", "image-id",
    "instance-id", "instance-lifecycle", "instance-state-code", "instance-state-name", "instance-type",
    "instance.group-id", "key-name", "launch-time", "owner-id", "spot-instance-request-id", "subnet-id",
    "vpc-id",
}  # fmt: skip


def instance_fields(instance: Instance) -> dict[str, Any]:
    """Returns the values of INSTANCE_FILTERS, by which this project might filter."""
    return {
        "architecture": instance.architecture,
        "availability-zone": instance.availability_zone,
        "client-token": instance.client_token,
        "iam-instance-profile.arn": (instance.iam_instance_profile or {}).get("Arn"),
        "image-id": instance.image_id,
        "instance-id": instance.id,
        "instance-lifecycle": instance.lifecycle,
        "instance-state-code": instance._state.code,
        "instance-state-name": instance._state.name,
        "instance-type": instance.instance_type,
        "instance.group-id": [g.id for g in instance.security_groups],
        "key-name": instance.key_name,
        "launch-time": instance.launch_time.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "owner-id": instance.owner_id,
        "spot-instance-request-id": instance.spot_instance_request_id,
        "subnet-id": instance.subnet_id,
        "vpc-id": instance.vpc_id,
    }


def describe_instances(self: InstanceResponse) -> ActionResult:
    """Pages by instance, although the response groups instances by reservation."""
    self.error_on_dryrun()
    backend, world = self.ec2_backend, worlds.of(self.current_account)
    ids = self._get_param("InstanceIds", [])
    if ids and self._get_param("MaxResults") is not None:
        refuse(
            "InvalidParameterCombination",
            "The parameter instancesSet cannot be used with the parameter maxResults",
        )
    if not self._get_param("NextToken"):
        look_at_instances(backend)
    found = visible_instances(backend, ids) if ids else all_instances(backend)
    filters = filters_of(self, INSTANCE_FILTERS)
    numbered = [
        (i.number, i)
        for i in sorted(found, key=lambda i: i.number)
        if not i.hidden_looks and passes(filters, instance_fields(i), tags_of(backend, i.id))
    ]
    instances, token = page(self, world, numbered)
    wanted = {i.id for i in instances}
    reservations = []
    for reservation in list(backend.reservations.values()):
        if members := [i for i in reservation.instances if i.id in wanted]:
            if world.rules.anonymous_requests:
                members = [copy.copy(i) for i in members]
                for member in members:
                    member.spot_instance_request_id = None
            part = Reservation(reservation.id, reservation.owner_id)
            part.groups, part.instances = reservation.groups, members
            reservations.append(part)
    return ActionResult({"Reservations": reservations, "NextToken": token})


# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
REASONS = {
    "Client.UserInitiatedShutdown": "User initiated shutdown",
    "Client.InstanceInitiatedShutdown": "Instance initiated shutdown",
    "Server.SpotInstanceTermination": "Spot instance termination",
    "Client.InternalError": "Client error on launch",
    "Client.VolumeLimitExceeded": "Volume limit exceeded",
}


def end_instance(
    instance: Instance,
    status_code: str = "instance-terminated-by-user",
    reason: str = "Client.UserInitiatedShutdown",
) -> str:
    """Terminates an instance and closes its spot request. Returns the state that it had before.

    A request that was `cancelled` stays so.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
    """
    before = instance._state.name
    if before in ("terminated", "shutting-down"):
        return before
    instance.terminate()
    instance.ended = worlds.now()
    instance.state_reason = StateReason(f"{reason}: {REASONS.get(reason, 'failed')}", reason)
    looks = worlds.of(instance.owner_id).rules.shutting_down_looks
    if looks:
        instance.state_looks = looks
        instance._state.name, instance._state.code = "shutting-down", 32
    request = instance.ec2_backend.spot_instance_requests.get(instance.spot_instance_request_id)
    if request:
        request.settle("closed" if request.state == "active" else request.state, status_code)
    return before


STATE_CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}


def terminate_instances(self: InstanceResponse) -> ActionResult:
    """Terminates instances.

    One unknown id fails the whole call. A terminated instance is not an error.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html
    """
    instances = visible_instances(self.ec2_backend, self._get_param("InstanceIds", []))
    protected = [i.id for i in instances if i.disable_api_termination]
    if protected:
        refuse(
            "OperationNotPermitted",
            f"The instance '{protected[0]}' may not be terminated. Modify its 'disableApiTermination' "
            "instance attribute and try again.",
        )
    self.error_on_dryrun()
    changes = []
    for instance in instances:
        before = end_instance(instance)
        after = "terminated" if before == "terminated" else "shutting-down"
        changes.append(
            {
                "InstanceId": instance.id,
                "PreviousState": {"Name": before, "Code": STATE_CODES.get(before, 0)},
                "CurrentState": {"Name": after, "Code": STATE_CODES[after]},
            }
        )
    return ActionResult({"TerminatingInstances": changes})


# --- spot instance requests --------------------------------------------------------------------
# These replace moto's, which are fulfilled in their constructor and forgotten when cancelled.

MESSAGES = {
    "pending-evaluation": "Your Spot request has been submitted for review, and is pending evaluation.",
    "pending-fulfillment": "Your Spot request is pending fulfillment.",
    "fulfilled": "Your Spot request is fulfilled.",
    "capacity-not-available": "There is no Spot capacity available that matches your request.",
    "price-too-low": "Your maximum price is lower than the Spot price.",
    "canceled-before-fulfillment": "Your Spot request is canceled before it was fulfilled.",
    "request-canceled-and-instance-running": "Your Spot request is canceled, but your instance is still running.",
    "instance-terminated-by-user": "Your Spot instance was terminated by user.",
    "instance-terminated-no-capacity": "Your Spot instance was terminated: no capacity.",
    "schedule-expired": "Your Spot request expired before it was fulfilled.",
    "bad-parameters": "Your Spot request failed due to bad parameters.",
}


class SpotRequest:
    """A spot instance request: `open`, then `active` with an instance, then `closed`.

    It can be `cancelled` in either of the first two states, and an open one can become `failed`. It is
    kept in every state.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
    """

    def __init__(self, backend: Any, spec: dict[str, Any], ask: dict[str, Any]) -> None:
        self.ec2_backend = backend
        self.id = random_spot_request_id()
        backend._spot_numbered = self.number = getattr(backend, "_spot_numbered", 0) + 1
        self.spec = spec
        self.price: str | None = ask.get("SpotPrice")
        self.type = ask.get("Type") or "one-time"
        self.valid_from, self.valid_until = ask.get("ValidFrom"), ask.get("ValidUntil")
        self.client_token = ask.get("ClientToken")
        self.zone = zone_of(backend, spec)
        self.instance: Instance | None = None
        self.create_time = worlds.now()
        self.looks = 0
        self.held_by_test = False
        self.message: str | None = None
        self.hidden_looks = hidden_looks(worlds.of(backend.account_id))
        self.made = worlds.now()
        self.settle("open", "pending-evaluation")

    def settle(self, state: str, code: str, age_s: float = 0) -> None:
        """Sets the state and the status, as if the request had had them for `age_s` seconds."""
        self.state, self.status_code = state, code
        self.status_time = worlds.ago(age_s)
        self.create_time = min(self.create_time, self.status_time)

    def fulfil(self) -> None:
        spec, backend = self.spec, self.ec2_backend
        extra: dict[str, Any] = {"block_device_mappings": devices_of(backend, spec)}
        if spec.get("NetworkInterfaces"):
            extra["nics"] = spec["NetworkInterfaces"]
        reservation = backend.run_instances(
            image_id=spec.get("ImageId"),
            count=1,
            user_data=user_data(spec),
            security_group_names=[],
            security_group_ids=groups_of(backend, spec),
            instance_type=spec.get("InstanceType", "m1.small"),
            is_instance_type_default=False,
            region_name=backend.region_name,
            placement=self.zone,
            subnet_id=spec.get("SubnetId"),
            key_name=spec.get("KeyName"),
            ebs_optimized=spec.get("EbsOptimized", False),
            lifecycle="spot",
            tags={},  # the tags of a request are not copied to its instance
            **extra,
        )
        self.instance = reservation.instances[0]
        self.instance.spot_instance_request_id = self.id
        if profile := spec.get("IamInstanceProfile"):
            backend.associate_iam_instance_profile(
                instance_id=self.instance.id,
                iam_instance_profile_name=profile.get("Name"),
                iam_instance_profile_arn=profile.get("Arn"),
            )
        self.settle("active", "fulfilled")

    def look(self) -> None:
        """Counts one describe call, at which the request may expire or be fulfilled by the rules."""
        come_to_light(self, self.made)
        if self.state != "open":
            return
        if self.valid_until and plain(self.valid_until) < worlds.now():
            self.settle("cancelled", "schedule-expired")
            return
        self.looks += 1
        self.try_fulfil()

    def try_fulfil(self) -> None:
        world = worlds.of(self.ec2_backend.account_id)
        rules = world.rules
        if self.held_by_test or self.state != "open":
            return
        pool = self.zone, self.spec.get("InstanceType", "")
        if not world.offers(*pool):
            # The call succeeds all the same (scylladb/scylla-cluster-tests#6495).
            if self.create_time <= worlds.ago(rules.not_offered_after_s):
                self.message = f"{MESSAGES['bad-parameters']} Invalid availability zone: [{self.zone}]"
                self.settle("failed", "bad-parameters")
            return
        if code := world.doom(*pool):
            self.settle("failed", code)
            return
        key = world.capacity_key(*pool)
        if key is not None and rules.capacity[key] <= 0:
            if self.status_code != "capacity-not-available":
                self.settle("open", "capacity-not-available", rules.held_age_s)
            return
        due = rules.spot == "at-once" or (
            isinstance(rules.spot, dict) and self.looks > rules.spot["after"]
        )
        if due:
            if key is not None:
                rules.capacity[key] -= 1
            self.fulfil()
        elif self.status_code != rules.held_code:
            self.settle("open", rules.held_code, rules.held_age_s)

    def cancel(self) -> None:
        rules = worlds.of(self.ec2_backend.account_id).rules
        if self.state == "open" and rules.fulfil_on_cancel > 0:
            rules.fulfil_on_cancel -= 1
            self.fulfil()
        if self.state == "open":
            self.settle("cancelled", "canceled-before-fulfillment")
        elif self.state == "active":
            self.settle("cancelled", "request-canceled-and-instance-running")
        elif self.state not in ("closed", "cancelled", "failed"):
            self.settle("cancelled", "canceled-before-fulfillment")

    FILTERS = {
        "create-time", "instance-id", "launch.group-id", "launch.image-id", "launch.instance-type",
        "launch.key-name", "launched-availability-zone", "network-interface.subnet-id",
        "product-description", "spot-instance-request-id", "spot-price", "state", "status-code", "type",
    }  # fmt: skip

    def fields(self) -> dict[str, Any]:
        """Returns the values of FILTERS, by which this project might filter."""
        spec = self.spec
        return {
            "create-time": stamp(self.create_time),
            "instance-id": self.instance.id if self.instance else None,
            "launch.group-id": [g.id for g in groups_of(self.ec2_backend, spec)],
            "launch.image-id": spec.get("ImageId"),
            "launch.instance-type": spec.get("InstanceType"),
            "launch.key-name": spec.get("KeyName"),
            "launched-availability-zone": self.zone if self.instance else None,
            "network-interface.subnet-id": spec.get("SubnetId"),
            "product-description": "Linux/UNIX",
            "spot-instance-request-id": self.id,
            "spot-price": self.price,
            "state": self.state,
            "status-code": self.status_code,
            "type": self.type,
        }

    def answer(self) -> dict[str, Any]:
        """Returns the request as the API shows it."""
        spec = self.spec
        shown = {
            k: v
            for k, v in spec.items()
            if k not in ("SecurityGroups", "SecurityGroupIds", "UserData")
        }
        shown["SecurityGroups"] = [
            {"GroupId": g.id, "GroupName": g.name} for g in groups_of(self.ec2_backend, spec)
        ]
        out = {
            "SpotInstanceRequestId": self.id,
            "SpotPrice": self.price,
            "Type": self.type,
            "State": self.state,
            "Status": {
                "Code": self.status_code,
                "Message": self.message or MESSAGES.get(self.status_code, self.status_code),
                "UpdateTime": self.status_time,
            },
            "CreateTime": self.create_time,
            "ValidFrom": self.valid_from,
            "ValidUntil": self.valid_until,
            "ProductDescription": "Linux/UNIX",
            "LaunchSpecification": shown,
            "Tags": tag_list(tags_of(self.ec2_backend, self.id)),
        }
        if self.instance:
            out["InstanceId"] = self.instance.id
            out["LaunchedAvailabilityZone"] = self.zone
        if self.state == "failed":
            out["Fault"] = {
                "Code": self.status_code,
                "Message": self.message or MESSAGES.get(self.status_code, "failed"),
            }
        return {key: value for key, value in out.items() if value is not None}


def devices_of(backend: Any, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the block devices of a launch: those of the image, as the launch changes them, and its own.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-device-mapping-concepts.html
    """
    image = backend.amis.get(spec.get("ImageId"))
    devices = {m["DeviceName"]: dict(m["Ebs"]) for m in (image.block_device_mappings if image else [])}
    for mapping in spec.get("BlockDeviceMappings") or []:
        name = mapping["DeviceName"]
        if mapping.get("NoDevice") is not None:
            devices.pop(name, None)
        elif not mapping.get("VirtualName"):
            default = {"DeleteOnTermination": True, "VolumeSize": 8}
            devices[name] = {**devices.get(name, default), **mapping.get("Ebs", {})}
    return [{"DeviceName": name, "Ebs": ebs} for name, ebs in devices.items()]


def plain(moment: datetime) -> datetime:
    """Converts a time to UTC without a zone, the form of `worlds.now`."""
    if moment.tzinfo is None:
        return moment
    return moment.replace(tzinfo=None) - (moment.utcoffset() or moment - moment)


def stamp(moment: datetime) -> str:
    return plain(moment).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def user_data(spec: dict[str, Any]) -> Base64EncodedString | None:
    """Refuses more than 16 KiB before encoding. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html"""
    raw = spec.get("UserData")
    if raw is None:
        return None
    try:
        encoded = Base64EncodedString(str(raw))
    except ValueError:
        refuse("InvalidParameterValue", "Invalid BASE64 encoding of user data")
    if len(base64.b64decode(str(raw))) > 16384:
        refuse("InvalidParameterValue", "User data is limited to 16384 bytes")
    return encoded


def groups_of(backend: Any, spec: dict[str, Any]) -> list[Any]:
    ids, names = spec.get("SecurityGroupIds") or [], spec.get("SecurityGroups") or []
    groups = []
    for group_id in ids:
        groups.append(backend.get_security_group_from_id(group_id))
        if groups[-1] is None:
            refuse("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
    for name in names:
        groups.append(backend.get_security_group_by_name_or_id(name))
        if groups[-1] is None:
            refuse(
                "InvalidGroup.NotFound",
                f"The security group '{name}' does not exist in default VPC",
            )
    return groups or [backend.get_security_group_by_name_or_id("default")]


def zone_of(backend: Any, spec: dict[str, Any]) -> str:
    """Returns the requested zone or that of the requested subnet, else the first with capacity."""
    if subnet := spec.get("SubnetId"):
        return backend.get_subnet(subnet).availability_zone
    if zone := (spec.get("Placement") or {}).get("AvailabilityZone"):
        return zone
    world = worlds.of(backend.account_id)
    zones = sorted(backend.get_default_subnets())
    for zone in zones:
        key = world.capacity_key(zone, spec.get("InstanceType", ""))
        if key is None or world.rules.capacity[key] > 0:
            return zone
    return zones[0]


def check_launch(response: Any, spec: dict[str, Any]) -> None:
    """Refuses a call that EC2 refuses at once, with the codes of "Error codes" in its API reference."""
    backend = response.ec2_backend
    if (key := spec.get("KeyName")) and key not in backend.key_pairs:
        refuse("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")
    image = spec.get("ImageId") or refuse(
        "MissingParameter", "The request must contain the parameter ImageId"
    )
    if not re.fullmatch("ami-[0-9a-f]{8,17}", image):
        refuse("InvalidAMIID.Malformed", f'Invalid id: "{image}" (expecting "ami-...")')
    if image not in backend.amis:
        refuse("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
    if (kind := spec.get("InstanceType", "m1.small")) not in INSTANCE_TYPES:
        refuse("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    if spec.get("SubnetId") and spec.get("SecurityGroups"):
        refuse(
            "InvalidParameterCombination",
            "The parameter groupName cannot be used with the parameter subnet",
        )
    if spec.get("SubnetId"):
        backend.get_subnet(spec["SubnetId"])
    zone = (spec.get("Placement") or {}).get("AvailabilityZone")
    if zone and zone not in backend.get_default_subnets():
        refuse("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
    groups_of(backend, spec)
    user_data(spec)
    if profile := spec.get("IamInstanceProfile"):
        check_profile(response, profile)


def check_profile(response: Any, profile: dict[str, str]) -> None:
    """Refuses a profile that has no role, or that is too new for EC2 to know it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    """
    by = "arn" if "Arn" in profile else "name"
    text = profile.get("Arn") or profile.get("Name")
    try:
        found = filter_iam_instance_profiles(
            response.current_account,
            partition=response.partition,
            iam_instance_profile_arn=profile.get("Arn"),
            iam_instance_profile_name=profile.get("Name"),
        )
    except Exception:
        found = None
    if found is None or worlds.of(response.current_account).rules.profiles_lag:
        refuse(
            "InvalidParameterValue",
            f"Value ({text}) for parameter iamInstanceProfile.{by} is invalid. "
            f"Invalid IAM Instance Profile {'ARN' if by == 'arn' else 'name'}",
        )
    if not found.roles:
        refuse(
            "InvalidParameterValue", f'IAM Instance Profile "{found.arn}" has no associated IAM Roles'
        )


def request_spot_instances(self: SpotInstances) -> ActionResult:
    """Requests spot instances.

    A repeated token with the same parameters gives the same answer; with others, it is refused.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestSpotInstances.html
    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    backend, world = self.ec2_backend, worlds.of(self.current_account)
    token = self._get_param("ClientToken")
    asked = {
        name: values[0]
        for name, values in self.querystring.items()
        if name not in ("Action", "Version", "ClientToken", "DryRun")
    }
    tokens = backend.__dict__.setdefault("_spot_tokens", {})
    if token in tokens:
        before, requests = tokens[token]
        if before != asked:
            refuse(
                "IdempotentParameterMismatch",
                "The client token has already been used with different request parameters.",
            )
        return ActionResult({"SpotInstanceRequests": [r.answer() for r in requests]})
    if token is not None and (len(token) > 64 or not token.isascii()):
        refuse("InvalidParameterValue", "The client token may have at most 64 ASCII characters")
    count = self._get_int_param("InstanceCount", 1)
    if count < 1:
        refuse("InvalidParameterValue", f"Invalid value '{count}' for instanceCount")
    for tagged in self._get_param("TagSpecifications", []):
        if tagged.get("ResourceType") != "spot-instances-request":
            refuse(
                "InvalidParameterValue",
                f"'{tagged.get('ResourceType')}' is not a valid taggable resource type for this operation.",
            )
    spec = self._get_param("LaunchSpecification", {})
    check_launch(self, spec)
    tags = self._parse_tag_specification().get("spot-instances-request", {})
    self.error_on_dryrun()

    check_addresses(backend, spec, count)
    pool = world.capacity_key(zone_of(backend, spec), spec.get("InstanceType", ""))
    if (
        world.rules.no_capacity == "refuse"
        and pool is not None
        and world.rules.capacity[pool] < count
    ):
        refuse(
            "InsufficientInstanceCapacity",
            "There is no Spot capacity available that matches your request.",
        )
    ask = {
        name: self._get_param(name) for name in ("Type", "ValidFrom", "ValidUntil", "ClientToken")
    }
    if price := self._get_param("SpotPrice"):
        ask["SpotPrice"] = f"{float(price):.6f}"
    requests = [make_request(backend, spec, ask, tags) for _ in range(count)]
    note_peaks(backend, world)
    if token is not None:
        tokens[token] = (asked, requests)
    return ActionResult({"SpotInstanceRequests": [r.answer() for r in requests]})


def check_addresses(backend: Any, spec: dict[str, Any], count: int) -> None:
    """Refuses as a whole a call for more instances than its subnet has free addresses.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    interfaces = spec.get("NetworkInterfaces") or []
    subnet_id = spec.get("SubnetId") or next(
        (i["SubnetId"] for i in interfaces if i.get("SubnetId")), None
    )
    if subnet_id:
        subnet = backend.get_subnet(subnet_id)
    else:
        subnet = backend.get_default_subnets().get(zone_of(backend, spec))
    if subnet is not None and subnet.available_ip_address_count < count:
        refuse(
            "InsufficientFreeAddressesInSubnet",
            f"There are not enough free addresses in subnet '{subnet.id}' to satisfy the requested number "
            "of instances.",
        )


def note_peaks(backend: Any, world: worlds.World) -> None:
    """Counts the open requests and the requests with a live instance, per worker type."""
    standing = (
        tags_of(backend, r.id).get("provisioner:worker-type")
        for r in backend.spot_instance_requests.values()
        if r.state == "open" or (r.instance is not None and is_live(r.instance))
    )
    world.note_peaks([name for name in standing if name is not None])


def make_request(
    backend: Any, spec: dict[str, Any], ask: dict[str, Any], tags: dict[str, str]
) -> SpotRequest:
    request = SpotRequest(backend, spec, ask)
    backend.spot_instance_requests[request.id] = request
    if tags:
        backend.create_tags([request.id], tags)
    request.try_fulfil()
    return request


def visible_requests(backend: Any, ids: Iterable[str]) -> list[SpotRequest]:
    found = []
    for request_id in dict.fromkeys(ids):
        if not re.fullmatch("sir-[0-9a-z]{8,17}", request_id):
            refuse("InvalidSpotInstanceRequestID.Malformed", f"Invalid id: {request_id}")
        request = backend.spot_instance_requests.get(request_id)
        if request is None or request.hidden_looks:
            refuse(
                "InvalidSpotInstanceRequestID.NotFound",
                f"The spot instance request ID '{request_id}' does not exist",
            )
        found.append(request)
    return found


def describe_spot_instance_requests(self: SpotInstances) -> ActionResult:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotInstanceRequests.html"""
    self.error_on_dryrun()
    backend, world = self.ec2_backend, worlds.of(self.current_account)
    ids = self._get_param("SpotInstanceRequestIds", [])
    if not self._get_param("NextToken"):
        if world.rules.arrivals_key_name:
            spec = {
                "KeyName": world.rules.arrivals_key_name,
                "ImageId": next(iter(backend.amis)),
                "InstanceType": "m5.large",
            }
            make_request(backend, spec, {}, {})
        for request in list(backend.spot_instance_requests.values()):
            request.look()
    found = visible_requests(backend, ids) if ids else list(backend.spot_instance_requests.values())
    filters = filters_of(self, SpotRequest.FILTERS)
    numbered = [
        (r.number, r)
        for r in sorted(found, key=lambda r: r.number)
        if not r.hidden_looks and passes(filters, r.fields(), tags_of(backend, r.id))
    ]
    requests, token = page(self, world, numbered)
    return ActionResult(
        {"SpotInstanceRequests": [r.answer() for r in requests], "NextToken": token}
    )


def cancel_spot_instance_requests(self: SpotInstances) -> ActionResult:
    """Cancels requests. One unknown id fails the whole call. No instance is terminated.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CancelSpotInstanceRequests.html
    """
    requests = visible_requests(self.ec2_backend, self._get_param("SpotInstanceRequestIds", []))
    self.error_on_dryrun()
    for request in requests:
        request.cancel()
    return ActionResult(
        {
            "CancelledSpotInstanceRequests": [
                {"SpotInstanceRequestId": r.id, "State": r.state} for r in requests
            ]
        }
    )


# --- what launches depend on ---------------------------------------------------------------------


def free_addresses(self: Subnet) -> int:
    """Five addresses are AWS's own, and each instance has one until it is terminated.

    https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
    """
    taken = sum(
        i._state.name != "terminated" and i.subnet_id == self.id
        for i in all_instances(self.ec2_backend)
    )
    return self.cidr.num_addresses - 5 - taken


_describe_instance_type_offerings = InstanceResponse.describe_instance_type_offerings


def describe_instance_type_offerings(self: InstanceResponse) -> ActionResult:
    """Leaves out what the rules say is not offered."""
    world = worlds.of(self.current_account)
    found = _describe_instance_type_offerings(self).result["InstanceTypeOfferings"]
    offered = [o for o in found if world.offers(o["Location"], o["InstanceType"])]
    return ActionResult({"InstanceTypeOfferings": offered})


def image_devices(self: Ami) -> list[dict[str, Any]]:
    """The root device ends with its instance, as with nearly every image; the rules name others."""
    ebs = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": 15, "VolumeType": "standard"}
    lasting = worlds.of(self.ec2_backend.account_id).rules.lasting_devices.get(self.id, [])
    devices = {self.root_device_name: True} | dict.fromkeys(lasting, False)
    return [
        {"DeviceName": name, "Ebs": {**ebs, "DeleteOnTermination": deleted}}
        for name, deleted in devices.items()
    ]


def image_allowed(self: Ami) -> bool:
    rules = worlds.of(self.ec2_backend.account_id).rules
    return rules.allowed_images == "disabled" or self.id in rules.allowed_image_ids


_describe_images = AmisResponse.describe_images


def describe_images(self: AmisResponse) -> ActionResult:
    """Images that the account does not allow are not shown.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-allowed-amis.html
    """
    images = _describe_images(self).result["Images"]
    if worlds.of(self.current_account).rules.allowed_images == "enabled":
        images = [image for image in images if image_allowed(image)]
    return ActionResult({"Images": images})


def get_instance_metadata_defaults(self: Settings) -> ActionResult:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetInstanceMetadataDefaults.html"""
    self.error_on_dryrun()
    rules = worlds.of(self.current_account).rules
    return ActionResult({"AccountLevel": rules.metadata_defaults})


def get_allowed_images_settings(self: Settings) -> ActionResult:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetAllowedImagesSettings.html"""
    self.error_on_dryrun()
    state = worlds.of(self.current_account).rules.allowed_images
    return ActionResult({"State": state, "ImageCriteria": [], "ManagedBy": "account"})


def get_default_credit_specification(self: Settings) -> ActionResult:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetDefaultCreditSpecification.html"""
    self.error_on_dryrun()
    family = self._get_param("InstanceFamily")
    if family not in ("t2", "t3", "t3a", "t4g"):
        refuse("InvalidParameterValue", f"Invalid value '{family}' for instanceFamily")
    usual = "standard" if family == "t2" else "unlimited"
    credits = worlds.of(self.current_account).rules.default_credits.get(family, usual)
    return ActionResult(
        {"InstanceFamilyCreditSpecification": {"InstanceFamily": family, "CpuCredits": credits}}
    )


PRICE_FILTERS = {"availability-zone", "instance-type", "product-description"}


def describe_spot_price_history(self: SpotInstances) -> ActionResult:
    """Returns the price changes since the start, and the last one before it: the price at the start.

    Here the price of each pool changed a day ago and an hour ago, when it fell to a half.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html
    """
    self.error_on_dryrun()
    world = worlds.of(self.current_account)
    filters = filters_of(self, PRICE_FILTERS)
    types = self._get_param("InstanceTypes", [])
    products = self._get_param("ProductDescriptions", [])
    start = self._get_param("StartTime")
    since = plain(start) if start else worlds.ago(90 * 86400)
    changes = []
    for offering in self.ec2_backend.describe_spot_price_history(types, {}):
        zone, kind = offering["Location"], offering["InstanceType"]
        price = world.spot_price(zone, kind)
        for product, factor in (("Linux/UNIX", 1), ("Windows", 3)):
            fields = {
                "availability-zone": zone,
                "instance-type": kind,
                "product-description": product,
            }
            if price is None or not passes(filters, fields, {}):
                continue
            if products and product not in products:
                continue
            for age, times in ((3600, 1), (86400, 2)):
                changes.append(
                    {
                        "InstanceType": kind,
                        "ProductDescription": product,
                        "SpotPrice": f"{price * factor * times:.6f}",
                        "AvailabilityZone": zone,
                        "Timestamp": stamp(worlds.ago(age)),
                    }
                )
                if worlds.ago(age) <= since:
                    break
    numbered = list(enumerate(changes))
    history, token = page(self, world, numbered)
    return ActionResult({"SpotPriceHistory": history, "NextToken": token or ""})


# --- installation ------------------------------------------------------------------------------

# What moto does not have at all.
ADDED: list[tuple[type, str, Any]] = [
    (Ami, "image_allowed", property(image_allowed)),
    (Settings, "get_instance_metadata_defaults", get_instance_metadata_defaults),
    (Settings, "get_allowed_images_settings", get_allowed_images_settings),
    (Settings, "get_default_credit_specification", get_default_credit_specification),
]

REPLACED: list[tuple[type, str, Any]] = [
    (TaggedEC2Resource, "get_tags", get_tags),
    (TagResponse, "create_tags", create_tags),
    (KeyPairs, "delete_key_pair", delete_key_pair),
    (Ami, "block_device_mappings", property(image_devices)),
    (AmisResponse, "describe_images", describe_images),
    (Subnet, "available_ip_address_count", property(free_addresses)),
    (Instance, "__init__", instance_init),
    (InstanceResponse, "describe_instance_type_offerings", describe_instance_type_offerings),
    (InstanceResponse, "describe_instances", describe_instances),
    (InstanceResponse, "terminate_instances", terminate_instances),
    (SpotInstances, "request_spot_instances", request_spot_instances),
    (SpotInstances, "describe_spot_instance_requests", describe_spot_instance_requests),
    (SpotInstances, "cancel_spot_instance_requests", cancel_spot_instance_requests),
    (SpotInstances, "describe_spot_price_history", describe_spot_price_history),
]


def install(replaced: list[tuple[type, str, Any]]) -> None:
    """Replaces methods of moto, and adds those that it lacks."""
    for owner, name, ours in ADDED:
        if hasattr(owner, name):
            raise RuntimeError(f"this moto has {owner.__name__}.{name} already: wrong version?")
        setattr(owner, name, ours)
    for owner, name, ours in replaced:
        if not hasattr(owner, name):
            raise RuntimeError(f"this moto has no {owner.__name__}.{name}: wrong version?")
        setattr(owner, name, ours)
