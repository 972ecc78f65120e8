"""Ports: what bytes are sent to and received from. Each kind is a module; everything else in `traffic` knows `Port`."""
