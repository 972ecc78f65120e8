"""Labs that stay are the machine's own: what making and entering one needs, said before anything is begun.

A user namespace of one's own, which is enough for a TUN that goes with its program, cannot give a namespace a name
(mount(2)) or enter one that root made (setns(2)).
"""

from __future__ import annotations

import errno

from tunlab.errors import PrivilegeError
from tunlab.kernel.os_errors import ROOT_REMEDY, has_capability

NEEDS_ROOT = f"{ROOT_REMEDY}: labs that stay need that (tunlab demo and pytest do not)"
"""The remedy."""


def check_privilege(operation: str) -> None:
    """Nothing, if this user may do that to a lab. Raises PrivilegeError without CAP_SYS_ADMIN."""
    if not has_capability("CAP_SYS_ADMIN"):
        raise PrivilegeError(errno.EPERM, operation, missing="CAP_SYS_ADMIN", remedy=NEEDS_ROOT)
