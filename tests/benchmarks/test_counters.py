"""What can be counted does not get worse: threads, descriptors and memory of a child, memory of a stream."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the counters read /proc, so they need Linux"),
]


def count(name: str, mode: str) -> dict[str, float]:
    argv = [sys.executable, "-m", "tests.benchmarks.counters", name, mode]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["async", "threaded"])
def test_an_idle_child_costs_no_thread_and_little_memory(mode: str) -> None:
    """Three descriptors (two pipes and the pidfd), no thread, and at most 5 KiB of private memory; measured 4.3 to 4.7."""
    found = count("idle", mode)

    assert found["threads"] == 0
    assert found["descriptors"] == 3
    assert found["kib"] <= 5


@pytest.mark.parametrize("mode", ["async", "threaded"])
def test_a_stream_takes_no_memory(mode: str) -> None:
    """200 MB of lines pass through with at most 4 MiB more at the peak; measured 0 to 0.3."""
    assert count("stream", mode)["kib"] <= 4 * 1024
