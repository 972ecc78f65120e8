"""Labs: networks of nodes in network namespaces. A Lab exists for one test, a PersistentLab until it is taken down.

The classes that use tunlab.packet are in tunlab.lab.tun and tunlab.lab.capture. They are not imported here, so that
`tunlab up` starts fast.
"""

from tunlab.lab.lab import Lab
from tunlab.lab.node import Node
from tunlab.lab.persistent.lab import PersistentLab
from tunlab.lab.persistent.status import Removed, Status
from tunlab.lab.persistent.targets import resolve

__all__ = ["Lab", "Node", "PersistentLab", "Removed", "Status", "resolve"]
