"""Reports of a recording: text in a terminal, an HTML page in a browser."""
