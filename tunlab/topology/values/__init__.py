"""Checks for single values of a lab file: names, addresses and quantities."""
