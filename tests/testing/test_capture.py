"""Catching what is written on the descriptors."""

import os
import subprocess
import sys

import pytest

from offloop.testing.capture import capture


def test_both_streams_and_children_are_caught_in_order() -> None:
    """Line ends are the same on every system."""
    with capture() as captured:
        print("one")
        subprocess.run([sys.executable, "-c", "print('two')"], check=True)
        print("three", file=sys.stderr)
        os.write(1, b"four\n")

    assert captured.text == "one\ntwo\nthree\nfour\n"


def test_much_output_does_not_stop_the_writer() -> None:
    """More than a pipe holds."""
    with capture() as captured:
        os.write(1, b"x" * 10)
        for _ in range(64):
            print("y" * 9999)

    assert len(captured.text) == 10 + 64 * 10_000


def test_bytes_that_are_no_text_are_replaced() -> None:
    """Nothing raises at the end of a block."""
    with capture() as captured:
        os.write(1, b"caf\xe9\n")

    assert captured.text == "caf\ufffd\n"


def test_everything_is_back_after_an_error() -> None:
    """The streams, the descriptors and the error."""
    streams = sys.stdout, sys.stderr

    with pytest.raises(ValueError, match="inside"), capture():
        raise ValueError("inside")

    assert (sys.stdout, sys.stderr) == streams
