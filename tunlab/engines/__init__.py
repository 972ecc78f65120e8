"""The suite on Docker Engines, and containers as nodes of a lab: all that tunlab knows of Docker is in here.

Source: the Docker Engine API (docs.docker.com/reference/api/engine) and its Python SDK; no Docker program is run.
Rule for editors: nothing at the top of these modules imports docker, which takes a third of a second.
"""
