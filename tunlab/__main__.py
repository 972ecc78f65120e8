"""`python -m tunlab`: as the command `tunlab`."""

import sys

from tunlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
