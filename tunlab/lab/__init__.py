"""Labs: virtual networks whose nodes are network namespaces.

A `Lab` exists while one test runs, a `PersistentLab` until `tunlab down`.

The classes that use tunlab.packet are in tunlab.lab.tun and tunlab.lab.capture. They are not imported here, so that
`tunlab up` starts fast.
"""

from tunlab.lab.lab import Lab
from tunlab.lab.node import Node
from tunlab.lab.persistent.lab import PersistentLab
from tunlab.lab.persistent.status import EndedProgram, Removed, Status
from tunlab.lab.persistent.targets import resolve

__all__ = ["EndedProgram", "Lab", "Node", "PersistentLab", "Removed", "Status", "resolve"]
