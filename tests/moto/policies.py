"""IAM policies, enforced as IAM and EC2 do: a call that no policy allows is denied.

moto itself evaluates no conditions. Here each call becomes the `Check`s that AWS makes of it: an action,
the ARN of a resource, and the context of both. The condition keys of each check are those of the Service
Authorization Reference ("Actions, resources, and condition keys" for EC2, IAM, SSM, STS). A policy that
uses anything this file does not know is refused when it is set, and so is a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ec2
import worlds
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

Context = dict[str, Any]


class NotModelled(Exception):
    """The checks that AWS makes of this call are not modelled yet."""


@dataclass
class Check:
    """One question to IAM."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


# --- policies ----------------------------------------------------------------------------------

ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}
# The condition keys that checks may carry. A key that a check does not carry is unknown for it.
KEYS = {
    "aws:tagkeys", "ec2:createaction", "ec2:region", "iam:awsservicename", "iam:passedtoservice",
}  # fmt: skip
KEY_FAMILIES = ("aws:requesttag/", "aws:resourcetag/")
OPERATORS = {"StringEquals", "StringLike"}


def many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def glob(text: str) -> re.Pattern[str]:
    """`*` is any text, `?` any character, and `${*}`, `${?}`, `${$}` those characters themselves.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    out = []
    for part in re.split(r"(\$\{[^}]*\}|[*?])", text):
        if part in ("${*}", "${?}", "${$}"):
            out.append(re.escape(part[2]))
        elif part.startswith("${"):
            raise ValueError(f"a policy variable that is not modelled: {part}")
        else:
            out.append({"*": ".*", "?": "."}.get(part) or re.escape(part))
    return re.compile("".join(out), re.DOTALL)


def plain(text: str) -> re.Pattern[str]:
    """The same without wildcards."""
    return glob(re.sub(r"(?<!\$\{)[*?](?!\})", lambda found: "${" + found[0] + "}", text))


class Arn:
    """An ARN with wildcards, which do not match across the boundary between two parts."""

    def __init__(self, text: str) -> None:
        if text != "*" and (not text.startswith("arn:") or text.count(":") < 5):
            raise ValueError(f"not an ARN: {text}")
        self.parts = None if text == "*" else [glob(part) for part in text.split(":", 5)]

    def matches(self, arn: str) -> bool:
        if self.parts is None:
            return True
        parts = arn.split(":", 5)
        return len(parts) == 6 and all(
            pattern.fullmatch(part) for pattern, part in zip(self.parts, parts, strict=True)
        )


class Condition:
    """One key of one operator.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
    """

    def __init__(self, operator: str, key: str, values: Any) -> None:
        self.key = key.lower()
        if self.key not in KEYS and not self.key.startswith(KEY_FAMILIES):
            raise ValueError(f"a condition key that is not modelled: {key}")
        prefix, _, base = operator.rpartition(":")
        if prefix not in ("", "ForAllValues"):
            raise ValueError(f"an operator that is not modelled: {operator}")
        if (prefix == "ForAllValues") != (self.key == "aws:tagkeys"):
            raise ValueError(f"{operator} does not go with {key}")
        self.if_exists = base.endswith("IfExists")
        base = base.removesuffix("IfExists")
        if base not in OPERATORS:
            raise ValueError(f"an operator that is not modelled: {operator}")
        wanted = many(values)
        if not wanted:
            raise ValueError(f"{operator} {key} has no values")
        self.wanted = [glob(v) if base == "StringLike" else plain(v) for v in wanted]

    def holds(self, context: Context) -> bool:
        found = context.get(self.key)
        if isinstance(found, list):  # ForAllValues: an empty list matches
            return all(self.one_matches(value) for value in found)
        if found is None:
            return self.if_exists or self.key == "aws:tagkeys"
        return self.one_matches(found)

    def one_matches(self, value: str) -> bool:
        return any(pattern.fullmatch(value) for pattern in self.wanted)


class Statement:
    def __init__(self, statement: dict[str, Any]) -> None:
        unknown = set(statement) - ELEMENTS
        if unknown or statement.get("Effect") != "Allow":
            raise ValueError(f"a statement that is not modelled: {statement}")
        self.sid = statement["Sid"]
        self.actions = many(statement["Action"])
        if any(not re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action) for action in self.actions):
            raise ValueError(f"not plain actions: {self.actions}")
        self.resources = [Arn(text) for text in many(statement["Resource"])]
        self.conditions = [
            Condition(operator, key, values)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        ]

    def allows(self, check: Check) -> bool:
        return (
            check.action in self.actions
            and any(arn.matches(check.resource) for arn in self.resources)
            and all(condition.holds(check.context) for condition in self.conditions)
        )


class Policy:
    """A policy document, with a record of which statements were needed."""

    def __init__(self, document: dict[str, Any]) -> None:
        if set(document) != {"Version", "Statement"} or document["Version"] != "2012-10-17":
            raise ValueError(f"not a policy document: {document}")
        self.statements = [Statement(statement) for statement in document["Statement"]]
        # Of each check that passed: its action, and the statements that allowed it.
        self.used: set[tuple[str, tuple[str, ...]]] = set()

    def denied(self, checks: Iterable[Check]) -> Check | None:
        """The first check that nothing allows."""
        for check in checks:
            allowing = tuple(s.sid for s in self.statements if s.allows(check))
            if not allowing:
                return check
            self.used.add((check.action, allowing))
        return None


# --- the checks of each call -------------------------------------------------------------------


# The calls that read a setting of the account, and are not called Describe.
SETTINGS = {
    "GetAllowedImagesSettings", "GetDefaultCreditSpecification", "GetInstanceMetadataDefaults",
}  # fmt: skip


class Asked:
    """A call, with the account's things at hand."""

    def __init__(self, account: str, service: str, region: str, action: str, params: dict) -> None:
        self.account, self.region = account, region
        self.service, self.action, self.params = service, action, params
        self.ec2 = ec2_backends[account][region]
        self.iam = iam_backends[account]["aws"]

    def checks(self) -> Iterator[Check]:
        if self.service == "ec2" and (self.action.startswith("Describe") or self.action in SETTINGS):
            return iter([self.on_ec2("*")])
        try:
            return CHECKS[f"{self.service}:{self.action}"](self)
        except KeyError:
            raise NotModelled(f"{self.service}:{self.action}") from None

    def listed(self, name: str) -> list[str]:
        """`NAME.1`, `NAME.2`, ..."""
        numbered = re.compile(re.escape(name) + r"\.\d+")
        return [value for key, value in self.params.items() if numbered.fullmatch(key)]

    def arn(self, kind: str, name: str) -> str:
        # A subnet or group that another account shares has that account's number.
        owner = worlds.of(self.account).rules.owners.get(name, self.account)
        account = "" if kind in ("image", "snapshot") else owner
        return f"arn:aws:ec2:{self.region}:{account}:{kind}/{name}"

    def on_ec2(self, resource: str, action: str | None = None, **context: Any) -> Check:
        context = {name.replace("_", ":", 1): value for name, value in context.items()}
        return Check(f"ec2:{action or self.action}", resource, {"ec2:region": self.region, **context})

    def existing(self, kind: str, name: str, tags: dict[str, str], action: str = "") -> Check:
        """A check on an existing resource, with its tags."""
        check = self.on_ec2(self.arn(kind, name), action or None)
        check.context |= {f"aws:resourcetag/{k}".lower(): v for k, v in tags.items()}
        return check

    def tags(self, prefix: str) -> dict[str, str]:
        """Returns the tags that a call requests: `PREFIX.1.Key`, `PREFIX.1.Value`, ..."""
        numbered = re.compile(re.escape(prefix) + r"\.(\d+)\.Key")
        return {
            key: self.params.get(f"{prefix}.{found[1]}.Value", "")
            for name, key in self.params.items()
            if (found := numbered.fullmatch(name))
        }

    def key_pair_tags(self, name: str) -> dict[str, str]:
        pair = self.ec2.key_pairs.get(name)
        return ec2.tags_of(self.ec2, pair.id) if pair else {}


def tagging(check: Check, tags: dict[str, str]) -> Check:
    """Returns the same check with the tags that the call requests."""
    check.context |= {f"aws:requesttag/{k}".lower(): v for k, v in tags.items()}
    if tags:
        check.context["aws:tagkeys"] = list(tags)
    return check


def made_with_tags(asked: Asked, kind: str, name: str, tags: dict[str, str]) -> Iterator[Check]:
    """Checks the creation of a resource; with tags, their creation is checked too.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
    """
    arn = asked.arn(kind, name)
    yield tagging(asked.on_ec2(arn), tags)
    if tags:
        made_by = {"ec2:createaction": asked.action}
        yield tagging(asked.on_ec2(arn, "CreateTags", **made_by), tags)


def request_spot_instances(asked: Asked) -> Iterator[Check]:
    spec = {
        name.removeprefix("LaunchSpecification."): value
        for name, value in asked.params.items()
        if name.startswith("LaunchSpecification.")
    }
    tags = asked.tags("TagSpecification.1.Tag")
    yield from made_with_tags(asked, "spot-instances-request", "*", tags)
    yield asked.existing("image", spec["ImageId"], {})
    if name := spec.get("KeyName"):
        yield asked.existing("key-pair", name, asked.key_pair_tags(name))
    subnets = [v for k, v in spec.items() if re.fullmatch(r"(NetworkInterface\.\d+\.)?SubnetId", k)]
    for subnet in subnets or [s.id for s in asked.ec2.get_default_subnets().values()][:1]:
        yield asked.existing("subnet", subnet, {})
    group = re.compile(r"(NetworkInterface\.\d+\.)?SecurityGroupId\.\d+")
    groups = [value for name, value in spec.items() if group.fullmatch(name)]
    for group_id in groups or [g.id for g in ec2.groups_of(asked.ec2, {})]:
        yield asked.existing("security-group", group_id, {})
    if any(name.startswith("NetworkInterface.") for name in spec):
        yield asked.existing("network-interface", "*", {})
    for name, value in spec.items():
        if name.endswith(".Ebs.SnapshotId"):
            yield asked.existing("snapshot", value, {})
    profile = spec.get("IamInstanceProfile.Name") or spec.get("IamInstanceProfile.Arn")
    if profile:
        yield from roles_passed(asked, profile)


def roles_passed(asked: Asked, profile: str) -> Iterator[Check]:
    """Checks that the roles of an instance profile may be passed to EC2. A missing profile has no roles."""
    for found in asked.iam.instance_profiles.values():
        if profile in (found.name, found.arn):
            for role in found.roles:
                yield passing(role.arn)


def passing(role_arn: str) -> Check:
    return Check("iam:PassRole", role_arn, {"iam:passedtoservice": "ec2.amazonaws.com"})


def create_tags(asked: Asked) -> Iterator[Check]:
    tags = asked.tags("Tag")
    kinds = {"i": "instance", "sir": "spot-instances-request", "key": "key-pair", "vol": "volume"}
    for resource in asked.listed("ResourceId"):
        kind = kinds[resource.split("-")[0]]
        yield tagging(asked.existing(kind, resource, ec2.tags_of(asked.ec2, resource)), tags)


def on_each(kind: str, parameter: str) -> Callable[[Asked], Iterator[Check]]:
    """Checks each of the ids in a call, with its tags."""

    def checks(asked: Asked) -> Iterator[Check]:
        for name in asked.listed(parameter) or [asked.params[parameter]]:
            yield asked.existing(kind, name, ec2.tags_of(asked.ec2, name))

    return checks


def make_key_pair(asked: Asked) -> Iterator[Check]:
    tags = asked.tags("TagSpecification.1.Tag")
    return made_with_tags(asked, "key-pair", asked.params["KeyName"], tags)


def delete_key_pair(asked: Asked) -> Iterator[Check]:
    name = asked.params["KeyName"]
    yield asked.existing("key-pair", name, asked.key_pair_tags(name))


def get_parameter(asked: Asked) -> Iterator[Check]:
    name = asked.params["Name"]
    account = "" if name.startswith("/aws/") else asked.account
    arn = f"arn:aws:ssm:{asked.region}:{account}:parameter/{name.lstrip('/')}"
    yield Check("ssm:GetParameter", arn)


def on_iam(kind: str, parameter: str) -> Callable[[Asked], Iterator[Check]]:
    """Checks a role or an instance profile by name, with its tags."""

    def checks(asked: Asked) -> Iterator[Check]:
        name = asked.params[parameter]
        yield existing_iam(asked, kind, name, asked.action)

    return checks


def existing_iam(asked: Asked, kind: str, name: str, action: str) -> Check:
    there = asked.iam.roles if kind == "role" else asked.iam.instance_profiles
    found = next((item for item in there.values() if item.name == name), None)
    if found is None:  # so that its path is unknown
        return Check(f"iam:{action}", f"arn:aws:iam::{asked.account}:{kind}/{name}")
    tags = found.tags.values() if isinstance(found.tags, dict) else found.tags
    tags = {f"aws:resourcetag/{tag['Key']}".lower(): tag["Value"] for tag in tags}
    return Check(f"iam:{action}", found.arn, tags)


def make_iam(kind: str, parameter: str, tag_action: str) -> Callable[[Asked], Iterator[Check]]:
    """Checks the creation of a role or an instance profile; with tags, tagging it is checked too."""

    def checks(asked: Asked) -> Iterator[Check]:
        arn = f"arn:aws:iam::{asked.account}:{kind}/{asked.params[parameter]}"
        tags = asked.tags("Tags.member")
        yield tagging(Check(f"iam:{asked.action}", arn), tags)
        if tags:
            yield tagging(Check(f"iam:{tag_action}", arn), tags)

    return checks


def create_service_linked_role(asked: Asked) -> Iterator[Check]:
    service = asked.params["AWSServiceName"]
    name = {"spot.amazonaws.com": "AWSServiceRoleForEC2Spot"}[service]
    arn = f"arn:aws:iam::{asked.account}:role/aws-service-role/{service}/{name}"
    yield Check("iam:CreateServiceLinkedRole", arn, {"iam:awsservicename": service})


def add_role_to_instance_profile(asked: Asked) -> Iterator[Check]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddRoleToInstanceProfile.html"""
    name = asked.params["InstanceProfileName"]
    yield existing_iam(asked, "instance-profile", name, asked.action)
    role = existing_iam(asked, "role", asked.params["RoleName"], "PassRole")
    yield passing(role.resource)


CHECKS: dict[str, Callable[[Asked], Iterator[Check]]] = {
    "ec2:RequestSpotInstances": request_spot_instances,
    "ec2:CreateTags": create_tags,
    "ec2:CancelSpotInstanceRequests": on_each("spot-instances-request", "SpotInstanceRequestId"),
    "ec2:TerminateInstances": on_each("instance", "InstanceId"),
    "ec2:DeleteFleets": on_each("fleet", "FleetId"),
    "ec2:DeleteVolume": on_each("volume", "VolumeId"),
    "ec2:DeleteLaunchTemplate": on_each("launch-template", "LaunchTemplateId"),
    "ec2:CreateKeyPair": make_key_pair,
    "ec2:ImportKeyPair": make_key_pair,
    "ec2:DeleteKeyPair": delete_key_pair,
    "ssm:GetParameter": get_parameter,
    "sts:GetCallerIdentity": lambda asked: iter([Check("sts:GetCallerIdentity", "*")]),
    "iam:GetRole": on_iam("role", "RoleName"),
    "iam:ListAttachedRolePolicies": on_iam("role", "RoleName"),
    "iam:ListRolePolicies": on_iam("role", "RoleName"),
    "iam:CreateRole": make_iam("role", "RoleName", "TagRole"),
    "iam:DeleteRole": on_iam("role", "RoleName"),
    "iam:CreateServiceLinkedRole": create_service_linked_role,
    "iam:GetInstanceProfile": on_iam("instance-profile", "InstanceProfileName"),
    "iam:CreateInstanceProfile": make_iam(
        "instance-profile", "InstanceProfileName", "TagInstanceProfile"
    ),
    "iam:AddRoleToInstanceProfile": add_role_to_instance_profile,
    "iam:RemoveRoleFromInstanceProfile": on_iam("instance-profile", "InstanceProfileName"),
    "iam:DeleteInstanceProfile": on_iam("instance-profile", "InstanceProfileName"),
}


def refusal(check: Check, service: str) -> tuple[str, str, int]:
    """Returns code, message and status in the wording of the service (EC2 names the resource since 2023)."""
    why = (
        f"User: arn:aws:sts::000000000000:assumed-role/tester/test is not authorized to perform: "
        f"{check.action} on resource: {check.resource} because no identity-based policy allows the "
        f"{check.action} action"
    )
    if service == "ec2":
        return "UnauthorizedOperation", f"You are not authorized to perform this operation. {why}", 403
    return ("AccessDeniedException", why, 400) if service == "ssm" else ("AccessDenied", why, 403)
