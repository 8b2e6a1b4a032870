"""Holds policies against parliament's knowledge of actions, resources and condition keys.

One policy document a line on standard input; one list of findings for each on standard output.
https://github.com/duo-labs/parliament
"""

from __future__ import annotations

import json
import sys
import warnings

# parliament reads its data through a part of setuptools that warns about its own end.
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
