"""A process's name for good: its id and when it started.

Source: proc_pid_stat(5).
"""

from __future__ import annotations

from pathlib import Path


def started(pid: int) -> int | None:
    """When a process started, in clock ticks after the machine did; None if there is none of that id."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The 22nd field; the second, the program's name, ends at the last parenthesis and may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
