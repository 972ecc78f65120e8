"""Reports of the packets that a test sent and received: text for the terminal, and an HTML page."""
