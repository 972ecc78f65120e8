# What a person types; CI types the same. Each target makes the virtual environment it needs, in .venv.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.PHONY: help demo test lint bench programs clean

help:
	@echo "make demo   a TUN in a namespace, a real ping, the parsed listing and the hex dump"
	@echo "make test   the test suite, on all cores"
	@echo "make lint   ruff, mypy, import-linter, the workflows' form"
	@echo "make bench  tunlab beside its peers, as ratios"
	@echo "make clean  remove the virtual environment and what the tools left"

demo: $(VENV)/.demo
	@$(RUN)/tunlab demo

# The packet corpus lives outside the project; without it the tests that read it are skipped, and say so.
test: export TUNLAB_CORPUS ?= $(realpath ../shared/corpus)
test: $(VENV)/.test programs
	$(RUN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.lint
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(RUN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml

bench: $(VENV)/.bench
	$(RUN)/python -m benchmarks $(ARGS)

# Programs that tests run beside tunlab, as program:package of Debian. Root on Debian gets what is missing; others are told.
PROGRAMS := ping:iputils-ping curl:curl strace:strace tshark:tshark ip:iproute2 setpriv:util-linux gcc:gcc nft:nftables dot:graphviz traceroute:traceroute iperf3:iperf3 chromium:chromium
# Under systemd Debian would start it for the network as well: there it is for the machine's owner to install.
PROGRAMS += $(if $(wildcard /run/systemd/system),,sshd:openssh-server)

programs:
	@missing=; for each in $(PROGRAMS); do \
	    PATH="$$PATH:/usr/sbin:/sbin" command -v $${each%%:*} >/dev/null 2>&1 || missing="$$missing $${each##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	        echo "make test: installing$$missing from Debian, for the tests that run real programs"; \
	        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	    else \
	        echo "make test: these packages are missing, and the tests that run their programs will fail:$$missing" >&2; \
	    fi; \
	fi

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "tunlab needs Python 3.11 or later, and $(PYTHON) is older: make … PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	    || { echo "$(PYTHON) cannot make a virtual environment: install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.bench: $(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
