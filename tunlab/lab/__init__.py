"""Labs: in code and in tests, and those that stay, for the hands; read (tunlab.lab.tun.reader), written (…injection).

Rule for editors: reading and writing are not imported here, so that `tunlab up` need not load the packets.
"""

from tunlab.lab.lab import Lab, Removed, Status
from tunlab.lab.live_lab import LiveLab
from tunlab.lab.node import Node
from tunlab.lab.targets import resolve

__all__ = ["Lab", "LiveLab", "Node", "Removed", "Status", "resolve"]
