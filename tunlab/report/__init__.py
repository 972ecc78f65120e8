"""What a recording shows a person: as text in a terminal, as a page in a browser."""
