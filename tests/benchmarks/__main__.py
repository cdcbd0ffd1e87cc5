"""Measure the wrapper beside what users would take instead, interleaved in one run.

    python -m tests.benchmarks --rounds 25 --svg docs/assets/benchmarks.svg

Each round runs one slice of children by each approach, in random order; a figure is the median of the ratios to the
slice by asyncio in the same round, with quartiles. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from offloop import RunMode
from tests.benchmarks import approaches
from tests.benchmarks.approaches import Sample, slice_by_offloop, slice_of

PEER = "asyncio"
SLICE, AT_ONCE = 80, 8
LAG_SLICE, LAG_AT_ONCE = 600, 32
Slice = Callable[[int, int, bool], Coroutine[Any, Any, Sample]]


def _peer(one: approaches.One) -> Slice:
    return lambda children, at_once, with_heart: slice_of(
        one, children=children, at_once=at_once, with_heart=with_heart
    )


def _ours(mode: RunMode) -> Slice:
    return lambda children, at_once, with_heart: slice_by_offloop(
        mode, children=children, at_once=at_once, with_heart=with_heart
    )


def slices() -> dict[str, Slice]:
    """The approaches that can be measured here."""
    found: dict[str, Slice] = {
        PEER: _peer(approaches.by_asyncio),
        "offloop, ASYNC": _ours(RunMode.ASYNC),
        "offloop, THREADED": _ours(RunMode.THREADED),
        "anyio.run_process": _peer(approaches.by_anyio),
        "to_thread(subprocess.run)": _peer(approaches.by_to_thread),
        "Popen + communicate, no loop": _peer(approaches.by_popen),
    }
    try:
        import shellous  # noqa: F401
    except ImportError:
        print("shellous is not installed, and is left out", file=sys.stderr)
    else:
        found["shellous"] = _peer(approaches.by_shellous)
    return found


def measure(
    found: dict[str, Slice], *, rounds: int, children: int, at_once: int, with_heart: bool, say: str
) -> dict[str, list[Sample]]:
    """So many rounds of one slice by each approach, in random order."""
    samples: dict[str, list[Sample]] = {name: [] for name in found}
    for number in range(rounds):
        order = list(found)
        random.shuffle(order)
        for name in order:
            gc.collect()
            samples[name].append(asyncio.run(found[name](children, at_once, with_heart)))
        if sys.stderr.isatty():
            print(f"\r{say}: round {number + 1} of {rounds}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return samples


def ratios(samples: dict[str, list[Sample]], name: str, figure: str) -> tuple[float, float, float]:
    """First quartile, median and third quartile of the ratios to the peer in the same round."""
    found = [
        getattr(ours, figure) / getattr(peer, figure)
        for ours, peer in zip(samples[name], samples[PEER], strict=True)
    ]
    if len(found) < 2:
        return found[0], found[0], found[0]
    return tuple(statistics.quantiles(found, n=4))  # type: ignore[return-value]


def show(found: tuple[float, float, float]) -> str:
    low, middle, high = found
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def counter(name: str, mode: str) -> dict[str, float]:
    argv = [sys.executable, "-m", "tests.benchmarks.counters", name, mode]
    return json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)


def import_ratio(rounds: int) -> float:
    """CPU of `import offloop` in relation to `import asyncio`, both above a bare start."""

    def cpu_s(code: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    found: dict[str, list[float]] = {"pass": [], "import asyncio": [], "import offloop": []}
    for _ in range(rounds):
        for code, times in found.items():
            times.append(sum(cpu_s(code) for _ in range(5)))
    bare = statistics.median(found["pass"])
    return (statistics.median(found["import offloop"]) - bare) / (
        statistics.median(found["import asyncio"]) - bare
    )


def draw(bars: list[tuple[str, float, float, float]], title: str) -> str:
    """A bar for each approach, its median, and a line from quartile to quartile."""
    width, left, row = 640, 210, 26
    most = max(high for _, _, _, high in bars) * 1.05
    scale = (width - left - 60) / most
    height = 34 + row * len(bars) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t">',
        f'<title id="t">{title}</title>',
        "<style>text{font:13px sans-serif;fill:#333}.o{fill:#3f51b5}.p{fill:#9e9e9e}line{stroke:#333}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}line{stroke:#ddd}}</style>",
        f'<text x="0" y="16" style="font-weight:bold">{title}</text>',
    ]
    for number, (name, low, middle, high) in enumerate(bars):
        y = 30 + row * number
        kind = "o" if name.startswith("offloop") else "p"
        parts += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{name}</text>',
            f'<rect class="{kind}" x="{left}" y="{y}" width="{middle * scale:.1f}" height="17"/>',
            f'<line x1="{left + low * scale:.1f}" x2="{left + high * scale:.1f}" y1="{y + 8.5}" y2="{y + 8.5}"/>',
            f'<text x="{left + high * scale + 6:.1f}" y="{y + 13}">{middle:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="nox -s bench --", description="Measure the wrapper beside its peers."
    )
    parser.add_argument("--rounds", type=int, default=25, help="slices by each approach (25)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw CPU a child into this file")
    given = parser.parse_args()
    if sys.platform != "linux":
        parser.exit(2, "The benchmarks read /proc, so they need Linux.\n")
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    began = time.monotonic()
    found = slices()
    with approaches.no_collector():
        spawns = measure(
            found, rounds=given.rounds, children=SLICE, at_once=AT_ONCE, with_heart=False, say="CPU and time"
        )
        lags = measure(
            {name: found[name] for name in found if not name.startswith("Popen")},
            rounds=max(1, given.rounds // 6), children=LAG_SLICE, at_once=LAG_AT_ONCE, with_heart=True, say="loop lag",
        )  # fmt: skip
    print(
        f"CPython {platform.python_version()}, {os.cpu_count()} cores, {given.rounds} rounds of {SLICE} x /bin/true,"
    )
    print(f"{AT_ONCE} at once; ratios to asyncio in the same round, median [quartiles]\n")
    print(f"{'':30} {'CPU':>20} {'wall':>20} {'longest lag, 600 starts':>26}")
    for name in found:
        cpu, wall = show(ratios(spawns, name, "cpu_s")), show(ratios(spawns, name, "wall_s"))
        lag = show(ratios(lags, name, "lag_s")) if name in lags else "-"
        print(f"{name:30} {cpu:>20} {wall:>20} {lag:>26}")
    print()
    anyio_cpu = ratios(spawns, "anyio.run_process", "cpu_s")[1]
    for mode in ("async", "threaded"):
        name = f"offloop, {mode.upper()}"
        print(f"{name}: CPU to anyio.run_process {ratios(spawns, name, 'cpu_s')[1] / anyio_cpu:.2f}")
        lines, idle, stream = counter("lines", mode), counter("idle", mode), counter("stream", mode)
        print(
            f"    lines a second to readline(): {lines['async for']:.1f} async for, {lines['batches']:.1f} batches"
        )
        print(f"    idle child, two pipes: {idle['kib']:.1f} KiB, {idle['threads']:g} threads, "
              f"{idle['descriptors']:g} descriptors; streaming 200 MB: {stream['kib'] / 1024:.1f} MiB more")  # fmt: skip
    print(f"import offloop to import asyncio: {import_ratio(5):.2f}")
    print(f"{time.monotonic() - began:.0f} s")
    if given.svg:
        bars = [(name, *ratios(spawns, name, "cpu_s")) for name in found]
        given.svg.write_text(
            draw(sorted(bars, key=lambda bar: bar[2]), "CPU for each child, asyncio = 1"), "utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
