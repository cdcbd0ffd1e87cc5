"""Thousands of children of all kinds, treated in all ways at random: `nox -s chaos -- --minutes 20 --seed 1`."""
