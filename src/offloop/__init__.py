"""Keep work off the loop: process trees for async programs, on Linux and Windows.

The guide is at https://offloop.readthedocs.io/en/latest/ and its pages are in ``docs/``.
"""

from offloop.errors import (
    ArgumentTooLongError,
    CommandNotExecutableError,
    CommandNotFoundError,
    ModuleExecutionError,
    ModuleTimeoutError,
    OffloopError,
    ResourceLimitError,
    SettingsError,
    SubprocessPolicyError,
    UnsafeCommandError,
    UsageError,
    WorkingDirectoryError,
)
from offloop.modes import ModeChoice, RunMode, choose_mode
from offloop.output import Stream
from offloop.wrapper import PIPE, Process, Result, Stdin, SubprocessWrapper, python_argv

__all__ = (
    "PIPE",
    "ArgumentTooLongError",
    "CommandNotExecutableError",
    "CommandNotFoundError",
    "ModeChoice",
    "ModuleExecutionError",
    "ModuleTimeoutError",
    "OffloopError",
    "Process",
    "ResourceLimitError",
    "Result",
    "RunMode",
    "SettingsError",
    "Stdin",
    "Stream",
    "SubprocessPolicyError",
    "SubprocessWrapper",
    "UnsafeCommandError",
    "UsageError",
    "WorkingDirectoryError",
    "choose_mode",
    "python_argv",
)
