# The few commands a person types. Each makes the virtual environment it needs.
.DEFAULT_GOAL := help
.PHONY: help install drill drill-all test attack test-compose attack-compose drill-vm lint bench docs wheel clean

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
COLLECTION := collection/ansible_collections/sre/rollback
# Of drill-vm: every folder in molecule/ that is one.
SCENARIOS ?= $(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.lab: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[lab]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.lab

install: $(VENV)/.dev ## The virtual environment with everything

drill: $(VENV)/.lab ## Break a real system on this machine and bring it back
	$(BIN)/rollback-playbook drill full

drill-all: $(VENV)/.dev ## The drills of the lab that `make test` leaves out; a quarter of an hour
	$(BIN)/pytest -m 'drill and not attack' --timeout 900

test: $(VENV)/.dev ## Every test but the attacks; under ten minutes on two cores
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m 'not attack and not drill and not compose'

attack: $(VENV)/.dev ## Kills, full disks, races: minutes of them
	$(BIN)/pytest -m 'attack and not compose' --timeout 1800

test-compose: $(VENV)/.dev ## Compose on a real Docker Engine, which is installed when it may be
	tests/compose/install.sh
	$(BIN)/python -m pip install --quiet --editable '.[compose]'
	$(BIN)/python -m tests.compose.engine $(BIN)/pytest --numprocesses 2 --dist loadfile -m 'compose and not attack' tests/compose --timeout 900

attack-compose: $(VENV)/.dev ## Hosts that go away and disks that fill up under Compose: half an hour
	tests/compose/install.sh
	$(BIN)/python -m pip install --quiet --editable '.[compose]'
	$(BIN)/python -m tests.compose.engine $(BIN)/pytest -m 'compose and attack' tests/compose --timeout 1800

drill-vm: $(VENV)/.dev ## Drills in virtual machines, SCENARIOS="application …" or all; QEMU is installed when it may be
	PATH=$(abspath $(BIN)):$$PATH molecule/machines/drill $(SCENARIOS)

lint: $(VENV)/.dev ## Format, lint, types, playbooks, sanity
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	cd $(COLLECTION) && $(CURDIR)/$(BIN)/ansible-lint --offline --profile production --strict
	cd $(COLLECTION) && $(CURDIR)/$(BIN)/antsibull-changelog lint
	cd $(COLLECTION) && PATH=$(CURDIR)/$(BIN):$$PATH ansible-test sanity --python $$($(CURDIR)/$(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])') --color no

bench: $(VENV)/.dev ## Every performance figure of the docs
	for program in benchmarks/*.py; do $(BIN)/python $$program || exit 1; done

docs: $(VENV)/.dev ## Reference pages that are written from the code
	$(BIN)/rollback-playbook list --markdown > docs/reference/scenarios.md
	$(BIN)/python -m tests.tested_scenarios > docs/reference/tested-scenarios.md

wheel: $(VENV)/.dev ## Wheel and collection tarball in dist/
	$(BIN)/python -m build --outdir dist .
	$(BIN)/ansible-galaxy collection build --force --output-path dist $(COLLECTION)

clean: ## What the targets above made, but for the virtual environment
	rm -rf dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
