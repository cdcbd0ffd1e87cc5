"""Measure the wrapper beside what users would take instead, interleaved in one run.

    python -m tests.benchmarks --rounds 25 --svg docs/assets/benchmarks.svg

Each round runs one slice of children by each approach, in random order; a figure is the median of the ratios to the
slice by asyncio in the same round, with quartiles. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.approaches import PEER, SLICES, Sample, Slice

SLICE, AT_ONCE = 80, 8
LAG_SLICE, LAG_AT_ONCE = 600, 32


def slices() -> dict[str, Slice]:
    """The approaches that can be measured here."""
    found: dict[str, Slice] = {}
    for name, make in SLICES.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


@contextmanager
def no_collector() -> Generator[None]:
    """Collections hit slices at random."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def say(text: str, *, end: str = "") -> None:
    """Show progress, in a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end=end, file=sys.stderr, flush=True)


def measure(
    found: dict[str, Slice], *, rounds: int, children: int, at_once: int, with_heart: bool, what: str
) -> dict[str, list[Sample]]:
    """So many rounds of one slice by each approach, in random order."""
    samples: dict[str, list[Sample]] = {name: [] for name in found}
    for number in range(rounds):
        say(f"{what}: round {number + 1} of {rounds}")
        for name in random.sample(list(found), len(found)):
            gc.collect()
            samples[name].append(found[name](children, at_once, with_heart))
    say("")
    return samples


def ratios(samples: dict[str, list[Sample]], name: str, figure: str, to: str = PEER) -> list[float]:
    """First quartile, median and third quartile of the ratios to the slice of *to* in the same round."""
    found = [
        getattr(ours, figure) / getattr(peer, figure)
        for ours, peer in zip(samples[name], samples[to], strict=True)
    ]
    return statistics.quantiles(found, n=4) if len(found) > 1 else found * 3


def show(found: list[float]) -> str:
    low, middle, high = found
    return f"{middle:.2f} [{low:.2f},{high:.2f}]"


def counter(name: str, *options: str) -> dict[str, float]:
    say(f"{name} {' '.join(options)}")
    argv = [sys.executable, "-m", "tests.benchmarks.counters", name, *options]
    found = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)
    say("")
    return found


def import_ratio(rounds: int) -> float:
    """CPU of `import offloop` in relation to `import asyncio`, both above a bare start, from compiled modules."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def cpu_s(code: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    found: dict[str, list[float]] = {"pass": [], "import asyncio": [], "import offloop": []}
    cpu_s("import offloop")
    for number in range(rounds):
        say(f"import: round {number + 1} of {rounds}")
        for code, times in found.items():
            times.append(sum(cpu_s(code) for _ in range(5)))
    say("")
    bare = statistics.median(found["pass"])
    ours, peer = (statistics.median(found[code]) - bare for code in ("import offloop", "import asyncio"))
    return ours / peer


def print_slices(found: dict[str, Slice], *, rounds: int) -> dict[str, list[Sample]]:
    with no_collector():
        spawns = measure(
            found, rounds=rounds, children=SLICE, at_once=AT_ONCE, with_heart=False, what="CPU and time"
        )
        lags = measure(
            {name: found[name] for name in found if not name.startswith("Popen")},
            rounds=max(1, rounds // 6), children=LAG_SLICE, at_once=LAG_AT_ONCE, with_heart=True, what="loop lag",
        )  # fmt: skip
    print(f"{'':25}{'CPU':>17}{'wall':>17}{'longest lag':>17}")
    for name in found:
        cpu, wall = show(ratios(spawns, name, "cpu_s")), show(ratios(spawns, name, "wall_s"))
        lag = show(ratios(lags, name, "lag_s")) if name in lags else "-"
        print(f"{name:25}{cpu:>17}{wall:>17}{lag:>17}")
    return spawns


def print_counters() -> None:
    for mode in ("async", "threaded"):
        lines, idle, stream = counter("lines", mode), counter("idle", mode), counter("stream", mode)
        chatty, cancel, killed = counter("chatty", mode), counter("cancel", mode), counter("killed", mode)
        print(f"\n{mode.upper()}")
        print(f"lines a second, to readline()      {lines['async for']:8.1f}   async for")
        print(f"                                   {lines['batches']:8.1f}   batches()")
        print(f"idle child with two pipes          {idle['kib']:8.1f}   KiB private")
        print(f"                                   {idle['threads']:8g}   threads")
        print(f"                                   {idle['descriptors']:8g}   descriptors")
        print(f"streaming 200 MB, peak             {stream['kib'] / 1024:8.1f}   MiB more")
        print(f"40 chatty children, first line     {chatty['ratio']:8.2f}   to asyncio")
        print(f"cancel to tree dead, median        {cancel['ms']:8.1f}   ms")
        print(f"server killed to tree dead, median {killed['ms']:8.1f}   ms")
    try:
        large = counter("large_server")
    except subprocess.CalledProcessError:
        print("\na server of 2 GiB on uvloop: left out, see above")
    else:
        print(f"\non uvloop in a server of 2 GiB, time for each child, to uvloop's own {large['ratio']:.3f}")


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
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.o{fill:#7986cb}line{stroke:#ddd}}</style>",
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
    if given.svg and not given.svg.parent.is_dir():
        parser.error(f"--svg: there is no folder {given.svg.parent}")
    began = time.monotonic()
    print(
        f"CPython {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores; "
        f"{given.rounds} rounds of {SLICE} x /bin/true,\n{AT_ONCE} at once (lag: {LAG_SLICE}, {LAG_AT_ONCE} at once); "
        "ratios to asyncio\nin the same round, median [quartiles]\n"
    )
    spawns = print_slices(slices(), rounds=given.rounds)
    for mode in ("ASYNC", "THREADED"):
        to_anyio = ratios(spawns, f"offloop, {mode}", "cpu_s", to="anyio.run_process")
        to_floor = ratios(spawns, f"offloop, {mode}", "cpu_s", to="Popen + communicate")
        print(f"CPU of {mode}: {show(to_anyio)} to anyio, {show(to_floor)} to Popen")
    print_counters()
    print(f"import offloop to import asyncio: CPU {import_ratio(9):.2f}")
    print(f"\n{time.monotonic() - began:.0f} s")
    if given.svg:
        bars: list[tuple[str, float, float, float]] = []
        for name in spawns:
            low, middle, high = ratios(spawns, name, "cpu_s")
            bars.append((name, low, middle, high))
        drawn = draw(
            sorted(bars, key=lambda bar: bar[2]),
            "CPU of the server for each child, asyncio = 1 (lower is better)",
        )
        given.svg.write_text(drawn, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
