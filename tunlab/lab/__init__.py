"""Labs for the hands: made, listed and removed (`Lab`); read (tunlab.lab.reader) and written to (tunlab.lab.injection).

Rule for editors: reading and writing are not imported here, so that `tunlab up` need not load the packets.
"""

from tunlab.lab.live import Lab, Removed, Status

__all__ = ["Lab", "Removed", "Status"]
