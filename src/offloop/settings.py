"""Every ``OFFLOOP_*`` variable: its name, type, default and meaning.

The table in the guide is printed from ``SETTINGS``. Variables are read when they are needed, never at import.
"""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ("RUN_MODE", "SETTINGS", "Setting")


class Setting(NamedTuple):
    """One variable of the environment."""

    name: str
    type: str
    default: str
    meaning: str

    def read(self) -> str | None:
        """The value without surrounding spaces; None if it is not set or empty."""
        return os.environ.get(self.name, "").strip() or None


RUN_MODE = Setting(
    name="OFFLOOP_RUN_MODE",
    type="one of: async, threaded, local, dry-run",
    default="not set: choose_mode() decides",
    meaning="The run mode of every SubprocessWrapper that is made without mode=.",
)

SETTINGS: tuple[Setting, ...] = (RUN_MODE,)
