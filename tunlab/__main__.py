"""`python -m tunlab`: as the command `tunlab`.

Rule for editors: what is imported is imported in the `try`. Ctrl-C before it, while Python itself starts, is Python's.
"""

import sys

if __name__ == "__main__":
    try:
        from tunlab.cli import main

        status = main()
    except KeyboardInterrupt:  # before main could see to it
        status = 130
    sys.exit(status)
