"""``python -m offloop``."""

import sys

from offloop.cli import main

if __name__ == "__main__":
    sys.exit(main())
