# tunlab in a container: `docker run --rm --privileged tunlab` shows the demo, `docker run … tunlab pytest …` runs a suite.
#
# BASE_IMAGE  an image with python3 (3.11 or later), venv and pip
# PROGRAMS    Debian packages that the suite needs; tunlab itself needs none, its demo uses ping
# EXTRAS      extras of the tunlab package, such as "test"
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE Dockerfile ./
COPY tunlab tunlab
COPY lab lab
ARG EXTRAS=
# Install a wheel instead of the checkout, to test the files that users get.
RUN python3 -m venv /opt/tunlab \
 && /opt/tunlab/bin/pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /wheels . \
 && wheel=$(echo /wheels/tunlab-*.whl) \
 && /opt/tunlab/bin/pip install --quiet --no-cache-dir "${wheel}${EXTRAS:+[$EXTRAS]}"

FROM ${BASE_IMAGE}
ARG PROGRAMS=iputils-ping
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${PROGRAMS} >/dev/null \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/tunlab /opt/tunlab
ENV PATH=/opt/tunlab/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# Every user (docker run --user) may write to the working directory.
RUN install -d -m 1777 /suite
WORKDIR /suite
CMD ["tunlab", "demo"]
