"""The suite in a privileged container built from the Dockerfile, through the Docker SDK; ends as pytest ends.

TUNLAB_BASE_IMAGE   the image to build on, where the Dockerfile's default cannot be had
TUNLAB_CORPUS       the folder of the packet corpus, shown to the container read-only
"""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import docker
from docker.errors import BuildError

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "tunlab-suite"
# What the tests run beside tunlab; the Makefile's list is for the machine itself.
PROGRAMS = (
    "iputils-ping curl strace tshark iproute2 util-linux gcc libc6-dev make git traceroute iperf3 graphviz chromium"
)


def archive() -> bytes:
    """The project's files as git knows them, in a tar: the build's context and the suite's folder alike."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in filter(None, names.split("\0")):
            if (ROOT / name).exists():
                tar.add(ROOT / name, name)
    return buffer.getvalue()


def build(client: docker.DockerClient, context: bytes) -> None:
    """The image, its build's output shown only where it fails."""
    arguments = {"PROGRAMS": PROGRAMS, "EXTRAS": "test"}
    if base := os.environ.get("TUNLAB_BASE_IMAGE"):
        arguments["BASE_IMAGE"] = base
    try:
        client.images.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            dockerfile="Dockerfile",
            tag=IMAGE,
            buildargs=arguments,
            network_mode="host",
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        for line in error.build_log:
            sys.stdout.write(line.get("stream", ""))
        sys.exit(f"container: the image does not build: {error}")


def run(client: docker.DockerClient, context: bytes) -> int:
    """The suite inside; returns pytest's exit status."""
    # The package is the one that the image has installed, so its source stays outside.
    volumes = {}
    environment = {"CI": "true"}
    if corpus := os.environ.get("TUNLAB_CORPUS"):
        volumes[corpus] = {"bind": "/corpus", "mode": "ro"}
        environment["TUNLAB_CORPUS"] = "/corpus"
    container = client.containers.create(
        IMAGE,
        ["python3", "-m", "pytest", "-n", "auto", "-p", "no:cacheprovider"],
        privileged=True,
        init=True,
        network_mode="none",
        volumes=volumes,
        environment=environment,
        labels={"tunlab": "ci"},
    )
    try:
        container.put_archive("/suite", without(context, "tunlab/"))
        container.start()
        for chunk in container.logs(stream=True, follow=True):
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True, v=True)


def without(archived: bytes, prefix: str) -> bytes:
    """The same tar without the files below `prefix`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archived)) as source, tarfile.open(fileobj=buffer, mode="w") as target:
        for member in source:
            if not member.name.startswith(prefix):
                target.addfile(member, source.extractfile(member))
    return buffer.getvalue()


def main() -> int:
    client = docker.from_env(timeout=900)
    context = archive()
    build(client, context)
    return run(client, context)


if __name__ == "__main__":
    sys.exit(main())
