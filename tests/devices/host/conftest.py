"""What a user without privileges may do, found out by one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

# capset(2): this process keeps its user, so that it can still read what it imports, and loses every capability.
_PREAMBLE = """
import ctypes, json, os, resource, sys
header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, nothing) == 0
for name in ("RLIMIT_RTPRIO", "RLIMIT_NICE"):
    resource.setrlimit(getattr(resource, name), (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
"""


@pytest.fixture
def unprivileged() -> Callable[[str], Any]:
    """Runs Python code in a process that may do nothing; what it prints last has to be JSON."""
    if sys.platform != "linux":
        pytest.skip("capabilities are Linux's")

    def run(code: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", _PREAMBLE + code], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
