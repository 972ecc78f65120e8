"""Labs: in code and in tests, and those that stay, for the hands; read (tunlab.lab.reader), written (…injection).

Rule for editors: reading and writing are not imported here, so that `tunlab up` need not load the packets.
"""

from tunlab.lab.live import Lab, Removed, Status
from tunlab.lab.live_lab import LiveLab
from tunlab.lab.node import LiveNode
from tunlab.lab.targets import resolve

__all__ = ["Lab", "LiveLab", "LiveNode", "Removed", "Status", "resolve"]
