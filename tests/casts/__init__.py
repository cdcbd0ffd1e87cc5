"""Recordings of a terminal for the guide, each of a real run: `nox -s casts`."""
