"""Record what the guide shows of a terminal.

    python -m tests.casts                  all of them, anew
    python -m tests.casts doctor           one
    python -m tests.casts --missing        those that are not there, or were made from another scenario

Writes NAME.cast and NAME.txt into docs/casts/. On Windows, which has no such terminal, the text is that of the
commands, and there is no recording.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

from tests.casts.scenarios import SCENARIOS, Scenario

DOCS = Path(__file__).parents[2] / "docs"


def main() -> int:
    """The command line; returns the exit code: 0, or 1 if a recording failed, or 2 for a wrong argument."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.casts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; else all")
    parser.add_argument("--missing", action="store_true", help="leave those alone that are up to date")
    parser.add_argument(
        "--to", type=Path, default=DOCS / "casts", metavar="FOLDER", help="where to; else docs/casts"
    )
    chosen = parser.parse_args()
    return record_all(chosen.names, chosen.to, only_missing=chosen.missing)


def record_all(names: list[str], folder: Path, *, only_missing: bool) -> int:
    """Record into *folder*, and say what is done; returns the exit code."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := sorted(set(names) - set(known)):
        print(f"There is no scenario {unknown[0]}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    failed = 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or known:
        made_from = folder / f".{name}"  # MkDocs leaves it out
        wanted = _digest(known[name])
        if only_missing and made_from.is_file() and made_from.read_text("utf-8") == wanted:
            continue
        # What is old must not pass for a run of the scenario as it is now.
        for old in (made_from, folder / f"{name}.cast", folder / f"{name}.txt"):
            old.unlink(missing_ok=True)
        print(f"{name}: recording", end=" ", flush=True)
        done, says = write(known[name], folder)
        print(says, flush=True)
        if done:
            made_from.write_text(wanted, "utf-8")
        failed += not done
    return 1 if failed else 0


if sys.platform == "win32":

    def write(scenario: Scenario, folder: Path) -> tuple[bool, str]:
        """Write the commands; returns whether that went well, and what there is to say."""
        (folder / f"{scenario.name}.txt").write_text(scenario.commands(), "utf-8", newline="\n")
        return True, "SKIPPED, there are only its commands: Windows has no pseudo-terminal for Python"

else:
    from tests.casts.recorder import RecordingError, record

    def write(scenario: Scenario, folder: Path) -> tuple[bool, str]:
        """Record; returns whether that went well, and what there is to say."""
        began = time.monotonic()
        try:
            recording = record(scenario)
        except RecordingError as error:
            return False, f"FAILED\n{error}"
        (folder / f"{scenario.name}.cast").write_text(recording.asciicast(), "utf-8")
        (folder / f"{scenario.name}.txt").write_text(recording.text, "utf-8")
        return True, f"{len(recording.events)} events in {time.monotonic() - began:.1f} s"


def _digest(scenario: Scenario) -> str:
    """Of the scenario and of the recorder. What the commands run is not part of it: a release records all anew."""
    recorder = Path(__file__).with_name("recorder.py").read_bytes()
    return hashlib.sha256(repr(scenario).encode() + recorder).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
