"""Test suites in containers on Docker Engines, and containers as nodes of a lab. All code about Docker is here.

It uses the Docker Engine API (docs.docker.com/reference/api/engine) through its Python SDK; it runs no Docker client.
Import docker inside functions only: importing it takes a third of a second.
"""
