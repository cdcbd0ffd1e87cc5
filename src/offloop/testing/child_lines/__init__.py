"""What a Python child of a block needs to report the lines it runs (see `dead_lines`).

The folder itself is put on the child's PYTHONPATH, where Python imports `sitecustomize` at its start.
"""

FOLDER_VARIABLE = "OFFLOOP_PAGE_FOLDER"
"""Set by the runner: the folder of the page's files."""

REPORT_VARIABLE = "OFFLOOP_LINES_FOLDER"
"""Set by the runner: where a child writes what it ran."""
