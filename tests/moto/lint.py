"""Checks policies with parliament, which knows actions, resources and condition keys.

Reads one policy document per line from standard input, and writes a list of findings for each.
https://github.com/duo-labs/parliament
"""

from __future__ import annotations

import json
import sys
import warnings

# parliament reads its data through a part of setuptools that warns about its own deprecation.
warnings.filterwarnings("ignore", category=UserWarning)

import parliament  # noqa: E402

for line in sys.stdin:
    found = parliament.analyze_policy_string(line).findings
    print(
        json.dumps(
            [{"issue": f.issue, "detail": f.detail, "location": f.location} for f in found],
            default=str,
        ),
        flush=True,
    )
