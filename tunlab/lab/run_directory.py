"""The directory of all persistent labs."""

from __future__ import annotations

import os
from pathlib import Path

from tunlab.errors import LabError

RUN = "/run/tunlab"
RUN_VARIABLE = "TUNLAB_RUN"
"""The environment variable that replaces /run/tunlab."""


def run_directory() -> Path:
    """Return the directory that holds the directories of all labs: $TUNLAB_RUN, by default /run/tunlab."""
    directory = Path(os.environ.get(RUN_VARIABLE) or RUN)
    if not directory.is_absolute():  # a relative path means another directory for each process
        raise LabError("", f"{RUN_VARIABLE}={directory} is a relative path", remedy="give an absolute path")
    return directory
