"""Addresses of Docker Engines, and connections to them."""
