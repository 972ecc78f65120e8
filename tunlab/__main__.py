"""The entry point of `python -m tunlab`, which is the same as the command `tunlab`.

For contributors: import inside the `try`, so that Ctrl-C during an import prints no traceback.
"""

import sys

if __name__ == "__main__":
    try:
        from tunlab.cli import main

        status = main()
    except KeyboardInterrupt:  # The user pressed Ctrl-C during the imports, before main() could handle it.
        status = 130
    sys.exit(status)
