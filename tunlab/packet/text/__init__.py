"""Packets as text: the listing, the hex dump, the one-line summary, values for JSON, diagrams and differences."""
