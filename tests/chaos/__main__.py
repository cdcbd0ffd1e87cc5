"""A chaos run: one server after the other, in every mode and on every loop, a third of them killed.

    python -m tests.chaos --minutes 20 --seed 1

Each server starts children and checks what becomes of them (server.py). This program checks what is left when the
server has ended, or was killed. A seed replays what is decided; when it happens is the machine's affair. Linux only:
it looks into /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

MARK = "OFFLOOP_CHAOS_RUN"
PLACES = (
    ("async", "asyncio"),
    ("threaded", "asyncio"),
    ("threaded", "selector"),
    ("async", "uvloop"),
    ("threaded", "uvloop"),
    ("threaded", "trio"),
)
SERVER_S = 12.0
GONE_WITHIN_S = 2.0
# Between its birth and its registration with the leash a child is not covered; a start takes some milliseconds.
UNREGISTERED_S = 0.1
TICKS_A_S = os.sysconf("SC_CLK_TCK")


def marked(mark: str) -> dict[int, float]:
    """The living processes that have *mark* in their environment: pid, and seconds since the boot when it started."""
    found: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if f"{MARK}={mark}".encode() not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found[int(entry.name)] = int(fields[19]) / TICKS_A_S
    return found


def since_boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Run:
    """The servers of one run, and what was found."""

    def __init__(self, seed: int, minutes: float) -> None:
        self.seed = seed
        self.seconds = minutes * 60
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.gone_after_s: list[float] = []

    def go(self) -> None:
        began = time.monotonic()
        number = 0
        while (left_s := self.seconds - (time.monotonic() - began)) > 1:
            seconds = min(SERVER_S, self.seconds / len(PLACES), left_s)
            self.one_server(number, seconds)
            number += 1
            if sys.stderr.isatty():
                print(f"\r{time.monotonic() - began:6.0f} s, {self.counts['servers']} servers, "
                      f"{self.counts['children']} children, {len(self.faults)} faults", end="", file=sys.stderr)  # fmt: skip
        if sys.stderr.isatty():
            print(file=sys.stderr)

    def one_server(self, number: int, seconds: float) -> None:
        random = Random(f"{self.seed}/server/{number}")
        mode, loop = PLACES[number % len(PLACES)]
        mark = f"{os.getpid()}-{self.seed}-{number}"
        is_killed = random.random() < 1 / 3
        argv = [sys.executable, "-m", "tests.chaos.server", f"{self.seed}/{number}", f"{seconds}", mode, loop]
        server = subprocess.Popen(
            argv, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            output, errors = server.communicate(
                timeout=seconds * random.uniform(0.3, 0.9) if is_killed else seconds + 90
            )
        except subprocess.TimeoutExpired:
            if not is_killed:
                self.faults.append(
                    f"server {number}, {mode} on {loop}: hangs, {len(marked(mark))} processes alive"
                )
            killed_at_s = since_boot_s()
            server.send_signal(signal.SIGKILL)
            server.wait()
            server.communicate()
            self.counts["servers killed"] += 1
            self.look_for_orphans(number, mark, killed_at_s)
        else:
            self.take(number, server.returncode, output, errors)
            self.look_for_orphans(number, mark, None)
        self.counts["servers"] += 1

    def take(self, number: int, returncode: int, output: bytes, errors: bytes) -> None:
        try:
            report = json.loads(output)
        except ValueError:
            self.faults.append(f"server {number} ended with {returncode}: {errors.decode()[-2000:]}")
            return
        self.counts.update({k: v for k, v in report["counts"].items() if k != "grown KiB"})
        self.counts["grown KiB, most"] = max(
            self.counts["grown KiB, most"], report["counts"].get("grown KiB", 0)
        )
        self.faults += report["faults"]
        if b"never retrieved" in errors:
            self.faults.append(f"server {number}: {errors.decode()[-2000:]}")

    def look_for_orphans(self, number: int, mark: str, killed_at_s: float | None) -> None:
        began = time.monotonic()
        while (left := marked(mark)) and time.monotonic() - began < GONE_WITHIN_S:
            time.sleep(0.005)
        if not left and killed_at_s is not None:
            self.gone_after_s.append(time.monotonic() - began)
        for pid, started_s in left.items():
            if killed_at_s is not None and started_s > killed_at_s - UNREGISTERED_S:
                self.counts["born in the last 0.1 s before the kill, and not covered"] += 1
            else:
                self.faults.append(f"server {number}: process {pid} is left")
            os.kill(pid, signal.SIGKILL)

    def report(self) -> None:
        for name, count in sorted(self.counts.items()):
            print(f"{count:>15,}  {name}")
        if self.gone_after_s:
            middle = sorted(self.gone_after_s)[len(self.gone_after_s) // 2]
            print(
                f"{middle * 1000:>12.0f} ms  median from the kill of a server to the end of all its processes"
            )
        for fault in self.faults:
            print("FAULT", fault)
        print(f"seed {self.seed}: {self.counts['children']} children, {len(self.faults)} faults")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="nox -s chaos --",
        description="Start thousands of children and treat them at random, on every loop.",
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (1)")
    parser.add_argument(
        "--seed", type=int, default=None, help="what is decided at random (printed when left out)"
    )
    given = parser.parse_args()
    if sys.platform != "linux":
        parser.exit(2, "A chaos run looks into /proc, so it needs Linux.\n")
    if not 0 < given.minutes < 24 * 60:
        parser.error("--minutes must be above 0 and below a day")
    run = Run(given.seed if given.seed is not None else int.from_bytes(os.urandom(4), "big"), given.minutes)
    try:
        run.go()
    finally:
        run.report()
    return 1 if run.faults else 0


if __name__ == "__main__":
    sys.exit(main())
