"""`python -m tinygrad_ce` is the command `tinygrad-ce`."""

import sys

from tinygrad_ce.cli import main

if __name__ == "__main__":
    sys.exit(main())
