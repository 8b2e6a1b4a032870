"""Calls the stand-in from outside, through boto3.

Reads one JSON object per line from standard input: {"endpoint", "region", "keys": {...}, "service",
"call", "with": {...}}. Writes one for each: {"ok": ...} or {"error": {"code", "message"}}. Where boto3
can paginate, the result holds all pages.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from urllib.parse import urlsplit

for _name in list(os.environ):
    if _name.startswith("AWS_") or _name.lower().endswith("_proxy"):
        del os.environ[_name]
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

SESSION = boto3.Session()
CLIENTS: dict[tuple[str, ...], Any] = {}


def client(ask: dict[str, Any]) -> Any:
    if urlsplit(ask["endpoint"]).hostname != "127.0.0.1":
        raise ValueError(f"not a loopback endpoint: {ask['endpoint']}")
    keys = ask["keys"]
    which = (ask["endpoint"], ask["region"], ask["service"], keys["access_key_id"])
    if which not in CLIENTS:
        CLIENTS[which] = SESSION.client(
            ask["service"],
            region_name=ask["region"],
            endpoint_url=ask["endpoint"],
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            aws_session_token=keys["session_token"],
            config=Config(retries={"total_max_attempts": 1}),
        )
    return CLIENTS[which]


def answer(ask: dict[str, Any]) -> dict[str, Any]:
    try:
        api, call = client(ask), ask["call"]
        if api.can_paginate(call) and "MaxResults" not in ask["with"]:
            result = api.get_paginator(call).paginate(**ask["with"]).build_full_result()
        else:
            result = getattr(api, call)(**ask["with"])
            result.pop("ResponseMetadata", None)
        return {"ok": result}
    except ClientError as error:
        return {
            "error": {
                "code": error.response["Error"]["Code"],
                "message": error.response["Error"]["Message"],
            }
        }
    except Exception as error:  # the test reports it
        return {"error": {"code": type(error).__name__, "message": str(error)}}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line)), default=str), flush=True)
