# The commands of the project, for people and for CI. Each target creates the virtual environment that it needs, in .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.PHONY: help demo test lint docs bench root programs clean

help:
	@echo "make demo   ping through a TUN device: the packet parsed, dumped and answered"
	@echo "make test   run the test suite on all cores; ARGS=\"...\" are pytest's arguments"
	@echo "make lint   run ruff, mypy, import-linter and a check of the workflows"
	@echo "make docs   build the documentation in docs/_build/html"
	@echo "make bench  compare the speed of tunlab with similar tools"
	@echo "make clean  remove the virtual environment and the files that the tools created"

demo: $(VENV)/.demo
	@$(RUN)/tunlab demo

# The packet corpus is not part of the project. Without it, the tests that read it are skipped.
test: export TUNLAB_CORPUS ?= $(realpath ../shared/corpus)
test: root $(VENV)/.test programs
	$(RUN)/python -m pytest -n auto $(ARGS)

root:
	@[ "$$(id -u)" = 0 ] || { echo "make test: the tests need root, because they create network namespaces and devices; run sudo make test" >&2; exit 1; }

WORDED := tunlab tests benchmarks docs examples .ci

lint: $(VENV)/.lint
	$(RUN)/ruff check .
	$(RUN)/ruff check --quiet --stdin-filename tunlab/packet/transport/udp_lite.py - <tests/packet/udp_lite.py
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/python .ci/check_docstrings.py $(WORDED)
	$(RUN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(RUN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml

# Build all pages each time: Sphinx shows a warning only when it reads the page again.
docs: $(VENV)/.docs
	rm -rf docs/_build
	$(RUN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html
	$(RUN)/python docs/check_links.py docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/.bench
	$(RUN)/python -m benchmarks $(ARGS)

# Programs that the tests run, as program:package of Debian. Where apt-get exists, missing packages are installed.
PROGRAMS := ping:iputils-ping curl:curl strace:strace tshark:tshark ip:iproute2 setpriv:util-linux gcc:gcc nft:nftables dot:graphviz traceroute:traceroute iperf3:iperf3 dnsmasq:dnsmasq-base vtysh:frr wireguard-go:wireguard-go chromium:chromium
# Under systemd the package would also start a server that listens on the network, so the machine's owner must install it.
PROGRAMS += $(if $(wildcard /run/systemd/system),,sshd:openssh-server)

programs:
	@missing=; for each in $(PROGRAMS); do \
	    PATH="$$PATH:/usr/sbin:/sbin" command -v $${each%%:*} >/dev/null 2>&1 || missing="$$missing $${each##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	    if command -v apt-get >/dev/null 2>&1; then \
	        echo "make test: installing the Debian packages of programs that the tests run:$$missing"; \
	        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	    else \
	        echo "make test: tests that run the programs of these Debian packages will fail; install their equivalents:$$missing" >&2; \
	    fi; \
	fi

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "tunlab needs Python 3.11 or later; $(PYTHON) is older. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	    || { echo "$(PYTHON) cannot create a virtual environment. Install python3-venv." >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.bench: $(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) docs/_build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
