"""Labs: networks of namespaces, for one test (Lab) or until they are taken down (PersistentLab).

Packets are not imported here, so that `tunlab up` starts fast: see tunlab.lab.tun and tunlab.lab.capture.
"""

from tunlab.lab.lab import Lab
from tunlab.lab.node import Node
from tunlab.lab.persistent.lab import PersistentLab
from tunlab.lab.persistent.status import Removed, Status
from tunlab.lab.persistent.targets import resolve

__all__ = ["Lab", "Node", "PersistentLab", "Removed", "Status", "resolve"]
