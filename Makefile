# Starling. Two commands are enough to begin: `make up` runs a cloud, `make test` proves it.
# Everything is installed into .venv here; system packages only by `make test` and
# `make up HYPERVISOR=libvirt`, and only for root (tools/install-system says what).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
SEEDS ?= 2000
ONLY ?=
TENANTS ?= 120
TESTS ?=
SUITE ?= identity
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
TEMPEST_VENV := .venv-tempest
STATE = $(or $(STARLING_STATE),.starling)
INPUTS := pyproject.toml constraints.txt
PIP := $(BIN)/python -m pip install -qq --constraint constraints.txt

# What `make up` hands on as settings, and only what was given.
ifneq ($(HYPERVISOR),)
export STARLING_HYPERVISOR := $(HYPERVISOR)
endif
ifneq ($(PORT),)
export STARLING_PORT := $(PORT)
endif
ifneq ($(HOSTS),)
export STARLING_SIMULATED_HOSTS := $(HOSTS)
endif
ifneq ($(STARLING_STATE),)
export STARLING_STATE
endif

.PHONY: help up test check sim chaos judges bench tempest schemas constraints tempest-constraints clean libvirt \
	test-system

help:  ## this text
	@echo 'make TARGET [NAME=VALUE ...]'
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 21

up: $(VENV)/.program $(if $(filter libvirt,$(HYPERVISOR)),libvirt)  ## the whole cloud in one process: [HYPERVISOR=libvirt|simulated] [HOSTS=3] [PORT=8774] [STARLING_STATE=.starling]
	@$(if $(filter libvirt,$(HYPERVISOR)),STARLING_LIBVIRT_URI="$$(tools/libvirt-uri $(BIN)/python '$(STATE)')"; export STARLING_LIBVIRT_URI; )exec $(BIN)/starling up

test: test-system $(VENV)/.developer  ## all tests: [TESTS=tests/store]; as root it installs what they need first
	@tools/install-libvirt-python $(BIN)/python --optional
	$(BIN)/pytest $(TESTS)

check: $(VENV)/.developer  ## format, lint, types, layers, compose.yaml
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

sim: $(VENV)/.developer  ## the deterministic simulation: [SEEDS=2000]
	$(BIN)/python -m tests.sim --seeds $(SEEDS)

chaos: test-system $(VENV)/.developer  ## faults on real processes under load: [TENANTS=120] [ONLY=name]
	$(BIN)/python -m tests.chaos --tenants $(TENANTS) --only '$(ONLY)'

judges: $(VENV)/.developer  ## the longer judges: every mutant of the simulation, every fault on real processes
	$(BIN)/pytest -m judge $(TESTS)

bench: $(VENV)/.developer  ## measure: [ONLY=name]
	$(BIN)/python -m bench $(ONLY)

tempest: $(VENV)/.program $(TEMPEST_VENV)/.installed  ## OpenStack's own tests against a private cloud, or that of OS_*: [SUITE=identity] [TESTS=regex] [WORKERS=2]
	$(BIN)/python -m tools.tempest --suite '$(SUITE)' --tests '$(TESTS)' --workers '$(WORKERS)'

schemas: $(VENV)/.developer  ## write tests/golden/messages.json anew
	$(BIN)/python tools/write_schemas.py

constraints: $(VENV)/.python  ## resolve all dependencies anew and write constraints.txt
	tools/write-constraints $(PYTHON)

tempest-constraints:  ## the same for the tests of OpenStack: tools/tempest/constraints.txt
	tools/tempest/write-constraints $(PYTHON)

clean:  ## remove .venv and caches, end a libvirtd that `make up` started; .starling stays
	@if [ -e '$(STATE)/libvirtd/pid' ]; then $(PYTHON) tools/start_libvirtd.py stop '$(STATE)/libvirtd'; fi
	rm -rf $(VENV) $(TEMPEST_VENV) .tempest build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

libvirt: $(VENV)/.program
	@tools/install-system libvirt
	@tools/install-libvirt-python $(BIN)/python

test-system:
	@tools/install-system test

$(VENV)/.python:
	@tools/make-venv $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.program: $(VENV)/.python $(INPUTS)
	@echo 'Installing Starling into $(VENV)'
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(TEMPEST_VENV)/.installed: tools/tempest/requirements.txt tools/tempest/constraints.txt
	@echo 'Installing Tempest into $(TEMPEST_VENV)'
	@tools/make-venv $(PYTHON) $(TEMPEST_VENV)
	@$(TEMPEST_VENV)/bin/python -m pip install -qq -c tools/tempest/constraints.txt -r tools/tempest/requirements.txt
	@touch $@

$(VENV)/.developer: $(VENV)/.python $(INPUTS)
	@echo 'Installing Starling, its tools and the clients it is tested with into $(VENV)'
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --editable '.[dev,clients]'
	@touch $@ $(VENV)/.program
