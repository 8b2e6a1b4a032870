"""moto as a stand-in for AWS, with what our tests need on top.

Binds a free port on 127.0.0.1, prints {"port": N} and ends when its standard input closes, so that
it never outlives the test binary that started it, however that ended. Every account is a world of
its own (moto's multi-account mode): a test takes a new account and shares nothing.

Beside AWS's API, `/_ext/...` answers JSON; `Control` lists the paths.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any


def end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


# This comes before the imports below, which take more than a second.
threading.Thread(target=end_with_stdin, daemon=True).start()

HERE = Path(__file__).resolve().parent
# There are two images instead of 1299, which every account would load and every launch would search.
os.environ["MOTO_AMIS_PATH"] = str(HERE / "images.json")
# The proxy and the credentials of the caller must not be used.
for _name in list(os.environ):
    if _name.startswith("AWS_") or _name.lower().endswith("_proxy"):
        del os.environ[_name]

import ec2  # noqa: E402
import iam  # noqa: E402
import policies  # noqa: E402
import worlds  # noqa: E402
from moto.ec2.models import ec2_backends  # noqa: E402
from moto.iam.models import get_account_id_from  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.sts.models import sts_backends  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Call:
    """An AWS call, read from an HTTP request without consuming its body."""

    def __init__(self, environ: Environ) -> None:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = BytesIO(body)
        authorization = environ.get("HTTP_AUTHORIZATION", "")
        credential = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/", authorization)
        self.key_id, self.region, self.service = credential.groups() if credential else ("", "", "")
        target = environ.get("HTTP_X_AMZ_TARGET")
        if target:
            self.params = {k: v for k, v in json.loads(body).items() if isinstance(v, str)}
            self.params["Action"] = target.rpartition(".")[2]
        else:
            self.params = dict(
                urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
            )
        self.action = self.params.pop("Action", "")
        self.params.pop("Version", None)


class Faulty:
    """The WSGI application of moto, with the faults of the account and a log of its calls."""

    def __init__(self, moto: Callable[[Environ, StartResponse], Iterable[bytes]]) -> None:
        self.moto = moto
        self.control = Control()
        self.one_at_a_time = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/_ext/"):
            return self.control(environ, start_response)
        call = Call(environ)
        account = Control.keys.get(call.key_id)
        if account is None:
            return answer_error(call, start_response, *unknown_key(call))
        world = worlds.of(account)
        entry = {
            "action": call.action,
            "service": call.service,
            "region": call.region,
            "params": call.params,
            "status": None,
            "error": None,
            "at": ec2.stamp(worlds.now()),
        }
        denied = self.denied(world, call)
        with world.lock:
            entry["n"] = len(world.calls)
            fault = None if denied else world.fault_for(call.service, call.action, call.params)
            if fault is not None:
                entry["fault"] = fault.name or fault.code or fault.after
            world.calls.append(entry)
        if denied:
            entry["status"], entry["error"] = denied[2], denied[0]
            return answer_error(call, start_response, *denied)

        def started(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            entry["status"] = int(status.split()[0])
            return start_response(status, headers, *rest)

        if fault is None:
            return self.ordinary(world, entry, environ, started)
        withheld: list[Any] = []
        if fault.after == "applied":
            done = self.ordinary(world, entry, environ, lambda *args: withheld.append(args))
        if fault.hang_ms:
            world.released.wait(fault.hang_ms / 1000)
        if fault.drop:
            entry["status"] = 0
            with contextlib.suppress(OSError):  # the client may have closed it
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        if fault.body is not None:
            started("200 OK", [("Content-Type", "text/xml")])
            return [fault.body.encode()]
        if fault.code:
            entry["error"] = fault.code
            return answer_error(call, started, fault.code, fault.message, fault.status)
        if fault.after == "applied":
            status, headers = withheld[0][:2]
            if fault.cut is None:
                started(status, headers)
                return done
            part = b"".join(done)
            part = part[: int(len(part) * fault.cut)]
            if not fault.announced:
                headers = [h for h in headers if h[0].lower() != "content-length"]
                headers.append(("Content-Length", str(len(part))))
            started(status, headers)
            return [part]
        return self.ordinary(world, entry, environ, started)

    def denied(self, world: worlds.World, call: Call) -> tuple[str, str, int] | None:
        """Returns the refusal of the call by the policy of its access key, if there is one."""
        policy = world.policies.get(call.key_id)
        if policy is None:
            return None
        asked = policies.Asked(world.account, call.service, call.region, call.action, call.params)
        with world.lock:
            try:
                check = policy.denied(asked.checks())
            except policies.NotModelled as error:
                world.not_modelled.append(str(error))
                return "NotModelled", f"tests/moto/policies.py does not know {error}", 400
        return policies.refusal(check, call.service) if check else None

    def ordinary(
        self,
        world: worlds.World,
        entry: dict[str, Any],
        environ: Environ,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        """Returns the answer of moto, and logs its error code."""
        # Moto keeps tables for all accounts that it changes while it answers.
        with world.lock, self.one_at_a_time:
            body = b"".join(self.moto(environ, start_response))
        if code := re.search(rb"<Errors?>.*?<Code>([^<]*)</Code>", body, re.DOTALL):
            entry["error"] = code.group(1).decode()
        return [body]


def unknown_key(call: Call) -> tuple[str, str, int]:
    """Returns the refusal of an unknown access key."""
    if call.service == "ec2":
        return "AuthFailure", "AWS was not able to validate the provided access credentials", 401
    return "InvalidClientTokenId", "The security token included in the request is invalid.", 403


def answer_error(
    call: Call, start_response: StartResponse, code: str, message: str, status: int
) -> Iterable[bytes]:
    """Renders an error in the format of the service: EC2's XML, the query protocol's XML, or JSON."""
    if call.service == "ssm":
        body, kind = json.dumps({"__type": code, "message": message}), "application/x-amz-json-1.1"
    elif call.service == "ec2":
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>'
            f"<Code>{code}</Code><Message>{message}</Message>"
            "</Error></Errors><RequestID>req-injected</RequestID></Response>"
        )
        kind = "text/xml;charset=UTF-8"
    else:
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>"
            "</Error><RequestId>req-injected</RequestId></ErrorResponse>"
        )
        kind = "text/xml"
    start_response(
        f"{status} Injected", [("Content-Type", kind), ("Content-Length", str(len(body.encode())))]
    )
    return [body.encode()]


class Control:
    """The JSON interface of the tests. ACCOUNT has 12 digits, `?region=` names the region.

    POST /_ext/accounts                    a new account: its number and keys
    GET  /_ext/ACCOUNT/world               instances, spot requests, key pairs, volumes
    GET  /_ext/ACCOUNT/calls               every call so far, in order; `&since=N`: from the Nth on
    GET  /_ext/ACCOUNT/peaks               most open requests and live machines, by worker type and "*"
    POST /_ext/ACCOUNT/rules               {rule: value}, see `worlds.Rules`
    POST /_ext/ACCOUNT/faults              [{...}], see `worlds.Fault`; they queue up
    POST /_ext/ACCOUNT/clear               removes all faults; hanging calls continue
    POST /_ext/ACCOUNT/keys                another key for the same account
    POST /_ext/ACCOUNT/policy              {"key", "policy"}: that key may do this and no more
    GET  /_ext/ACCOUNT/policies            the statements that were needed, and calls not modelled
    POST /_ext/ACCOUNT/requests            {"ids"|"key_name", "do", ...} on spot requests
    POST /_ext/ACCOUNT/add-request         somebody's spot request
    POST /_ext/ACCOUNT/instances           {"ids"|"key_name", "do", ...} on instances
    POST /_ext/ACCOUNT/add-instance        somebody's instances
    """

    keys: dict[str, str] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        raw = environ["wsgi.input"].read(length)
        query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        path = environ["PATH_INFO"].removeprefix("/_ext/").split("/")
        try:
            result = self.do(path, query, json.loads(raw) if raw else {})
            status = "200 OK"
        except Exception as error:  # report the mistake to the test
            result, status = {"error": f"{type(error).__name__}: {error}"}, "400 Bad Request"
        body = json.dumps(result, default=str).encode()
        start_response(
            status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        )
        return [body]

    def do(self, path: list[str], query: dict[str, str], body: Any) -> Any:
        if path == ["accounts"]:
            return self.new_key(f"{random.randrange(10**11, 10**12)}")
        account, verb = path
        world = worlds.of(account)
        backend = ec2_backends[account][query.get("region", "us-west-2")]
        with world.lock:
            match verb:
                case "world":
                    return picture(backend)
                case "calls":
                    return world.calls[int(query.get("since", 0)) :]
                case "peaks":
                    return world.peaks
                case "rules":
                    world.settle(body)
                    return asdict(world.rules)
                case "faults":
                    world.released.clear()
                    world.faults.extend(worlds.Fault(**f) for f in body)
                    return len(world.faults)
                case "clear":
                    world.clear()
                    return {}
                case "keys":
                    return self.new_key(account)
                case "policy":
                    world.policies[body["key"]] = policies.Policy(body["policy"])
                    return {}
                case "policies":
                    return {
                        "used": {key: sorted(p.used) for key, p in world.policies.items()},
                        "not_modelled": world.not_modelled,
                    }
                case "requests":
                    return [
                        on_request(r, body)
                        for r in chosen(backend.spot_instance_requests.values(), body)
                    ]
                case "add-request":
                    return [add_request(backend, body).id for _ in range(body.get("count", 1))]
                case "instances":
                    return [on_instance(i, body) for i in chosen(ec2.all_instances(backend), body)]
                case "add-instance":
                    return [i.id for i in add_instances(backend, body)]
        raise ValueError(f"no such path: {path}")

    def new_key(self, account: str) -> dict[str, str]:
        """Returns keys of a role in the account, in the form of AssumeRole."""
        role = sts_backends[account]["aws"].assume_role(
            region_name="us-east-1",
            role_session_name="test",
            role_arn=f"arn:aws:iam::{account}:role/tester",
            policy="",
            duration=3600,
            external_id="",
        )
        if get_account_id_from(role.access_key_id) != account:
            raise RuntimeError("moto does not keep accounts apart")
        Control.keys[role.access_key_id] = account
        return {
            "account": account,
            "access_key_id": role.access_key_id,
            "secret_access_key": role.secret_access_key,
            "session_token": role.session_token,
        }


def chosen(items: Iterable[Any], body: dict[str, Any]) -> list[Any]:
    """Returns the items that a test selects: by `ids`, or all under `key_name`, at most `limit`."""
    items = list(items)
    if "ids" in body:
        items = [i for i in items if i.id in body["ids"]]
        if len(items) != len(body["ids"]):
            raise ValueError(f"not all of {body['ids']} exist")
    if "key_name" in body:
        items = [i for i in items if key_name_of(i) == body["key_name"]]
    return items[: body.get("limit")]


def key_name_of(item: Any) -> str | None:
    return item.spec.get("KeyName") if isinstance(item, ec2.SpotRequest) else item.key_name


def on_request(request: ec2.SpotRequest, body: dict[str, Any]) -> str:
    """`do`: fulfil | hold | status (code) | fail (code) | close (code) | state (any text) | age."""
    age = body.get("age_s", 0)
    match body["do"]:
        case "fulfil":
            if request.state == "open":
                request.fulfil()
        case "hold":
            request.held_by_test = True
        case "status":
            request.held_by_test = True
            request.settle("open", body["code"], age)
        case "fail":
            request.settle("failed", body.get("code", "bad-parameters"), age)
        case "close":
            request.settle("closed", body.get("code", "system-error"), age)
        case "state":
            request.held_by_test = True
            request.settle(body["state"], body.get("code", request.status_code), age)
        case "age":
            request.create_time = request.status_time = worlds.ago(age)
        case other:
            raise ValueError(f"no such thing to do: {other}")
    return request.id


def on_instance(instance: Any, body: dict[str, Any]) -> str:
    """`do`: terminate | shut-down | fail (code) | interrupt | stop | run | state (any text) | age | forget |
    protect."""
    match body["do"]:
        case "terminate":
            ec2.end_instance(instance)
        case "interrupt":
            ec2.end_instance(
                instance, "instance-terminated-no-capacity", "Server.SpotInstanceTermination"
            )
        case "shut-down":
            ec2.end_instance(instance, reason="Client.InstanceInitiatedShutdown")
        case "fail":  # EC2 itself ends the launch
            ec2.end_instance(instance, reason=body.get("code", "Client.InternalError"))
        case "stop":
            instance.stop()
        case "run":
            instance._state.name, instance._state.code = "running", 16
        case "state":
            instance._state.name, instance._state.code = body["state"], body.get("number", 96)
        case "age":
            instance.launch_time = worlds.ago(body["age_s"])
        case "forget":  # EC2 forgets a terminated instance after about an hour
            for reservation in instance.ec2_backend.reservations.values():
                reservation.instances = [i for i in reservation.instances if i is not instance]
        case "protect":
            instance.disable_api_termination = True
        case other:
            raise ValueError(f"no such thing to do: {other}")
    return instance.id


IMAGE = "ami-00000000000000b86"


def add_request(backend: Any, body: dict[str, Any]) -> ec2.SpotRequest:
    spec = {
        "ImageId": body.get("image_id", IMAGE),
        "KeyName": body.get("key_name"),
        "InstanceType": body.get("instance_type", "m5.large"),
        "Placement": {"AvailabilityZone": body.get("zone", f"{backend.region_name}a")},
    }
    ask = {"SpotPrice": body.get("price"), "Type": body.get("type")}
    request = ec2.make_request(backend, spec, ask, body.get("tags", {}))
    request.settle(request.state, request.status_code, body.get("age_s", 0))
    return request


def add_instances(backend: Any, body: dict[str, Any]) -> list[Any]:
    instances = backend.run_instances(
        image_id=body.get("image_id", IMAGE),
        count=body.get("count", 1),
        user_data=None,
        security_group_names=[],
        instance_type=body.get("instance_type", "m5.large"),
        is_instance_type_default=False,
        region_name=backend.region_name,
        placement=body.get("zone", f"{backend.region_name}a"),
        key_name=body.get("key_name"),
        lifecycle=body.get("lifecycle"),
        tags={"instance": body.get("tags", {})},
    ).instances
    for instance in instances:
        instance.spot_instance_request_id = body.get("spot_request_id")
        instance.launch_time = worlds.ago(body.get("age_s", 0))
    return instances


def picture(backend: Any) -> dict[str, Any]:
    """Lists all items of one region in the order of creation. Hidden items are shown; no time passes."""
    return {
        "instances": [
            {
                "id": i.id,
                "state": i._state.name,
                "key_name": i.key_name,
                "instance_type": i.instance_type,
                "image_id": i.image_id,
                "zone": i.availability_zone,
                "subnet_id": i.subnet_id,
                "lifecycle": i.lifecycle,
                "spot_request_id": i.spot_instance_request_id,
                "address": i.private_ip_address,
                "launch_time": ec2.stamp(i.launch_time),
                "user_data": i.user_data.decode() if i.user_data else None,
                "profile_arn": (i.iam_instance_profile or {}).get("Arn"),
                "security_groups": [g.id for g in i.security_groups],
                "tags": ec2.tags_of(backend, i.id),
            }
            for i in sorted(ec2.all_instances(backend), key=lambda i: i.number)
        ],
        "spot_requests": [
            {
                "id": r.id,
                "state": r.state,
                "status": r.status_code,
                "type": r.type,
                "price": r.price,
                "key_name": r.spec.get("KeyName"),
                "instance_type": r.spec.get("InstanceType"),
                "image_id": r.spec.get("ImageId"),
                "zone": r.zone,
                "asked_zone": (r.spec.get("Placement") or {}).get("AvailabilityZone"),
                "subnet_id": r.spec.get("SubnetId"),
                "instance_id": r.instance.id if r.instance else None,
                "client_token": r.client_token,
                "create_time": ec2.stamp(r.create_time),
                "valid_until": ec2.stamp(r.valid_until)
                if isinstance(r.valid_until, datetime)
                else r.valid_until,
                "user_data": str(ec2.user_data(r.spec) or ""),
                "block_devices": r.spec.get("BlockDeviceMappings"),
                "tags": ec2.tags_of(backend, r.id),
            }
            for r in sorted(backend.spot_instance_requests.values(), key=lambda r: r.number)
        ],
        "key_pairs": [
            {"name": k.key_name, "type": k.key_type, "tags": ec2.tags_of(backend, k.id)}
            for k in backend.key_pairs.values()
        ],
        "volumes": [
            {
                "id": v.id,
                "instance_id": v.attachment.instance.id if v.attachment else None,
                "tags": ec2.tags_of(backend, v.id),
            }
            for v in backend.volumes.values()
        ],
    }


class Quiet(MotoRequestHandler):
    """Logs no request: the call log is in `/_ext/ACCOUNT/calls`."""

    def log(self, type: str, message: str, *args: Any) -> None:
        if type == "error":
            super().log(type, message, *args)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        pass


def main() -> None:
    ec2.install(ec2.REPLACED + iam.REPLACED)
    app = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    os.environ["MOTO_PORT"] = str(server.port)
    print(json.dumps({"port": server.port}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
