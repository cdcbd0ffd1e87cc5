"""Pages as tests: every code block runs and is held to what it promises.

Ask for it by name in a project's pytest configuration; nothing happens in a run that does not:

    [tool.pytest.ini_options]
    addopts = ["-p", "offloop.testing"]

For pages and tests there are three names, which need neither pytest nor any other extra:
`loop_lag_s` (how long did the loop not turn), `left_behind` (what is still there afterwards) and
`python_argv` (a child in Python).
"""

from offloop import python_argv
from offloop.testing.census import LeftBehind, left_behind
from offloop.testing.loop_lag import loop_lag_s

__all__ = ("LeftBehind", "left_behind", "loop_lag_s", "python_argv")

# pytest reads this when it is told `-p offloop.testing`, and imports the plugin only then.
pytest_plugins: tuple[str, ...] = ("offloop.testing.plugin",)
