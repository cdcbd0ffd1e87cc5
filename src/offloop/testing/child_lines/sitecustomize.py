"""Report the lines of the page's files that this program runs; standard library only, and quick.

Each line is written the first time it runs, so that a program that is killed has reported too.
"""

# The type of a code object or a frame would cost every child an import, so here the strict rules are off.
# pyright: basic

import os
import sys


def _report_lines(folder, reports):
    out = os.open(os.path.join(reports, str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    seen = set()

    def add(name, line):
        if (name, line) not in seen:
            seen.add((name, line))
            os.write(out, f"{line}\t{name}\n".encode())

    def path_of(code):
        name = code.co_filename
        # `python worker.py` names its file as it was given.
        return os.path.join(folder, name) if os.sep not in name and not name.startswith("<") else name

    def ours(name):
        return name.startswith(folder + os.sep)

    if sys.version_info >= (3, 12):
        monitoring = sys.monitoring
        events = monitoring.events

        def start(code, offset):
            name = path_of(code)
            if ours(name):
                add(name, code.co_firstlineno)
                monitoring.set_local_events(4, code, events.LINE)
            return monitoring.DISABLE

        def line(code, number):
            add(path_of(code), number)
            return monitoring.DISABLE

        monitoring.use_tool_id(4, "offloop")
        monitoring.register_callback(4, events.PY_START, start)
        monitoring.register_callback(4, events.LINE, line)
        monitoring.set_events(4, events.PY_START)
        return

    import threading

    def local(frame, event, argument):
        if event == "line":
            add(path_of(frame.f_code), frame.f_lineno)
        return local

    def trace(frame, event, argument):
        name = path_of(frame.f_code)
        if ours(name):
            add(name, frame.f_lineno)
            return local
        return None

    sys.settrace(trace)
    threading.settrace(trace)


def _next_sitecustomize():
    """Ours hides one that the installation may have: run that too."""
    import importlib.machinery
    import importlib.util

    here = os.path.dirname(os.path.abspath(__file__))
    paths = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", paths)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


_folder, _reports = os.environ.get("OFFLOOP_PAGE_FOLDER"), os.environ.get("OFFLOOP_LINES_FOLDER")
if _folder and _reports and os.path.isdir(_reports):
    _report_lines(_folder, _reports)
_next_sitecustomize()
