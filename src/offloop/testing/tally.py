"""What became of every block: executed, excused with a reason, not run here, or unaccounted for.

`pytest --tally FILE` writes one run's tally as JSON. `python -m offloop.testing.tally merge FILES`
joins those of several systems and fails for a block, or a line, that ran on none of them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

__all__ = ("Block", "Tally", "merge")

EXECUTED, FAILED, EXCUSED, NOT_HERE, UNACCOUNTED = (
    "executed",
    "failed",
    "excused",
    "not run here",
    "unaccounted",
)


def _emulator() -> str:
    """What runs this instead of Windows itself, or nothing. Wine says so by a function that Windows does not have."""
    if sys.platform == "win32":
        return "Wine" if hasattr(ctypes.windll.ntdll, "wine_get_version") else ""
    return ""


@dataclass
class Block:
    """One block, or one line that looks like one but is not in the grammar."""

    page: str
    line: int
    state: str
    reason: str = ""
    digest: str = ""

    @property
    def where(self) -> str:
        """`page:line`, as editors understand it."""
        return f"{self.page}:{self.line}"


@dataclass
class Tally:
    """The blocks of one run, and the statements that none of them ran."""

    system: str = sys.platform
    python: str = f"{sys.version_info[0]}.{sys.version_info[1]}"
    implementation: str = platform.python_implementation()
    emulator: str = field(default_factory=_emulator)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    blocks: list[Block] = field(default_factory=list[Block])
    dead: list[Block] = field(default_factory=list[Block])

    def of(self, *states: str) -> list[Block]:
        """The blocks in one of *states*, in the order of the pages."""
        return [block for block in self.blocks if block.state in states]

    def line(self) -> str:
        """The one line that ends a run. A failed block was executed; that it failed is pytest's to say."""
        count = Counter(block.state for block in self.blocks)
        parts = [f"{count[EXECUTED] + count[FAILED]} executed", f"{count[EXCUSED]} excused"]
        if count[NOT_HERE]:
            parts.append(f"{count[NOT_HERE]} not run here")
        if dead := [d for d in self.dead if d.state != NOT_HERE]:
            parts.append(f"{len(dead)} dead")
        return f"doc blocks: {', '.join(parts)}, {count[UNACCOUNTED]} UNACCOUNTED"

    def write(self, path: Path) -> None:
        """Write it as JSON, for `merge`."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Tally:
        """Read what `write` wrote; ValueError names a file that is something else."""
        try:
            data = json.loads(path.read_text("utf-8"))
            blocks = [Block(**block) for block in data.pop("blocks")]
            return cls(blocks=blocks, dead=[Block(**block) for block in data.pop("dead")], **data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is not a tally: {error}") from error


def merge(tallies: Iterable[Tally]) -> tuple[list[str], list[str]]:
    """What the tallies say together: a table of counts, and the faults.

    A fault is a block that no run executed and no page excuses, and a statement of a page that is
    dead in every run.
    """
    runs = list(tallies)
    table = [f"{run.system} {run.python}: {run.line()}" for run in runs]
    states: dict[str, dict[str, str]] = {}
    for run in runs:
        for block in run.blocks:
            states.setdefault(block.where, {})[block.state] = block.reason
    faults = [_fault(where, seen) for where, seen in states.items()]
    dead_in = Counter(dead.where for run in runs for dead in run.dead)
    faults += [
        f"{where}: never ran in any of {len(runs)} runs"
        for where, count in dead_in.items()
        if count == len(runs)
    ]
    return table, [fault for fault in faults if fault]


def _fault(where: str, seen: Mapping[str, str]) -> str:
    if FAILED in seen:
        return f"{where}: failed"
    if UNACCOUNTED in seen:
        return f"{where}: {seen[UNACCOUNTED]}"
    if EXECUTED in seen or EXCUSED in seen:
        return ""
    return f"{where}: ran nowhere ({seen[NOT_HERE]})"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 1 for a fault, or 2 for a file that is no tally."""
    parser = argparse.ArgumentParser(prog="python -m offloop.testing.tally", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    merging = commands.add_parser("merge", help="join the tallies of several runs")
    merging.add_argument("files", nargs="+", type=Path, metavar="FILE", help="written by pytest --tally FILE")
    chosen = parser.parse_args(arguments)
    try:
        table, faults = merge([Tally.read(path) for path in chosen.files])
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*table, *(f"FAULT {fault}" for fault in faults), sep="\n")
    print(f"{len(table)} runs, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
