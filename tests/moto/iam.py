"""Adds to moto the behaviour of IAM that it lacks, for the calls that this project makes.

`server` installs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.iam import models
from moto.iam.exceptions import InvalidInput, NotFoundException
from moto.iam.models import IAMBackend, Role

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
models.SERVICE_NAME_CONVERSION["spot"] = "EC2Spot"

moto_creates = IAMBackend.create_service_linked_role
moto_removes = IAMBackend.remove_role_from_instance_profile


def create_service_linked_role(
    self: IAMBackend, service_name: str, description: str, suffix: str
) -> Role:
    """Refuses a second role for the same service, with a code of its own.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateServiceLinkedRole.html
    """
    path = f"/aws-service-role/{service_name}/"
    if taken := [role.name for role in self.get_roles() if role.path == path]:
        raise InvalidInput(
            f"Service role name {taken[0]} has been taken in this account, please try a different suffix."
        )
    return moto_creates(self, service_name, description, suffix)


def remove_role_from_instance_profile(self: IAMBackend, profile_name: str, role_name: str) -> None:
    """Refuses a role that is not in the profile as a missing entity.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_RemoveRoleFromInstanceProfile.html
    """
    if role_name not in [role.name for role in self.get_instance_profile(profile_name).roles]:
        raise NotFoundException(
            f"Role {role_name} in Instance Profile {profile_name} cannot be found."
        )
    moto_removes(self, profile_name, role_name)


REPLACED: list[tuple[type, str, Callable[..., Any]]] = [
    (IAMBackend, "create_service_linked_role", create_service_linked_role),
    (IAMBackend, "remove_role_from_instance_profile", remove_role_from_instance_profile),
]
