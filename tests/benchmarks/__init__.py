"""What the wrapper costs, beside what users would take instead: `nox -s bench`."""
