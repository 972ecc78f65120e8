"""Check that this process may create and enter persistent labs.

A process in a user namespace can create a `Lab`, but cannot bind-mount a namespace (mount(2)) or enter one that root
created (setns(2)).
"""

from __future__ import annotations

import errno

from tunlab.errors import PrivilegeError
from tunlab.kernel.os_errors import ROOT_REMEDY, has_capability

NEEDS_ROOT = f"{ROOT_REMEDY}: persistent labs need it (`tunlab demo` and pytest do not)"
"""The remedy in errors about missing privileges."""


def check_privilege(operation: str) -> None:
    """Raise PrivilegeError without CAP_SYS_ADMIN."""
    if not has_capability("CAP_SYS_ADMIN"):
        raise PrivilegeError(errno.EPERM, operation, missing="CAP_SYS_ADMIN", remedy=NEEDS_ROOT)
