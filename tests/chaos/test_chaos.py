"""Half a minute of chaos in every test run; `nox -s chaos -- --minutes 20` for more."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a chaos run looks into /proc, so it needs Linux")
def test_half_a_minute_of_chaos() -> None:
    """Hundreds of children of all kinds, ended in all ways, and killed servers: nothing is lost, nothing is left."""
    pytest.importorskip("uvloop", reason="uvloop is not installed")
    pytest.importorskip("trio", reason="trio is not installed")
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--minutes", "0.5", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 faults" in run.stdout
