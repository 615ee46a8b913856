# On a fresh machine each target first installs what is missing. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

SCENARIO ?= namespace-deletion
IMPACT ?= $(if $(filter $(SCENARIO),file-restore),sandbox,real)
REGIONS ?= $(if $(filter $(SCENARIO),cluster-loss region-failover),a$(comma)b,a)
# Files can be drilled in any lab, the one that is up; without one, in one that needs nothing compiled.
FILES_LAB = $(if $(shell grep -s '"only": null' .lab/lab.json),--regions $(REGIONS),--only database --prefect)
DATABASE_LAB := --only database --prefect
LAB ?= $(or $(if $(filter $(SCENARIO),database-corruption),$(DATABASE_LAB)),$(if $(filter $(SCENARIO),file-restore),$(FILES_LAB)),--regions $(REGIONS))
PYTEST_ARGS ?=
comma := ,
PYTHON := $(firstword $(shell command -v python3.11 python3.12 python3.13 python3 2>/dev/null) python3)
VENV := .venv
DR := $(VENV)/bin/dr

# Nothing here talks to anybody outside, and looks for no cloud it might run in.
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export AWS_EC2_METADATA_DISABLED := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, each of hundreds of processes compiles this project again, which takes a second.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(PATH):/usr/local/go/bin

.PHONY: help drill test test-lab test-own-labs test-fast bench soak lint format lock clean install machine

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

drill: machine install ## start the lab, delete a namespace for real, bring it back, print the report (SCENARIO=…)
	@$(DR) lab up $(LAB)
	@$(DR) deploy --site lab
	@$(DR) run $(SCENARIO) --site lab --mode drill --impact $(IMPACT) --yes

test: machine lint ## every test, the lab's included
	@$(VENV)/bin/pytest -n 5 --dist worksteal -m "not lab and not database and not prefect and not soak and not bench" $(PYTEST_ARGS)
	@$(DR) lab up # here, and not in a test: on a new machine it builds Kubernetes, which takes longer than a test may
	@$(MAKE) -j 2 test-lab test-own-labs # both wait most of the time

test-lab: # those that share the lab that is up, one after the other
	@$(VENV)/bin/pytest -m "lab and not own_lab and not soak and not bench" $(PYTEST_ARGS)

test-own-labs: # a file is a worker's: its tests may share a lab, or make one of the same number; short files come last
	@$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "(own_lab or database or prefect and not lab) and not soak and not bench" $(PYTEST_ARGS)

test-fast: install ## what needs no lab and no root, in less than a minute
	@$(VENV)/bin/pytest -n 2 -m "not slow and not drills and not lab and not database and not prefect and not soak and not bench" $(PYTEST_ARGS)

bench: machine install ## our restores against Velero's and pgBackRest's own; 20 recoveries to a point in time
	@$(VENV)/bin/pytest -m bench -s --timeout=3600 $(PYTEST_ARGS)

soak: machine install ## 20 drills in a row, each must come back without a difference
	@$(VENV)/bin/pytest -m soak -s --timeout=14400 $(PYTEST_ARGS)

lint: install ## style, types and layers
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: install ## let ruff write it as it wants to read it
	@$(VENV)/bin/ruff check --fix-only --quiet .
	@$(VENV)/bin/ruff format .

lock: install ## pin what requirements*.in ask for, with hashes
	@$(VENV)/bin/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
		--python-version 3.11 requirements-lab.in -o requirements-lab.lock

clean: ## stop the lab, remove everything that was made here; evidence (.lab/evidence) stays
	@if find .lab -mindepth 1 -maxdepth 1 ! -name evidence 2>/dev/null | grep -q .; then \
		[ -x $(DR) ] || { echo "REFUSED: there is a lab, and $(DR) is not there to stop it" >&2; \
			echo "HINT: make install, then make clean" >&2; exit 3; }; \
		$(DR) lab down; fi
	@for lab in .lab-database/*/lab.json; do [ ! -e "$$lab" ] || DR_LAB_ROOT="$${lab%/lab.json}" $(DR) lab down; done
	@rm -rf $(VENV) .lab-database build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -type d \( -name __pycache__ -o -name .ruff_cache -o -name .mypy_cache \) -prune -exec rm -rf {} +

install: $(VENV)/installed ## the virtual environment with what the lock file pins

$(VENV)/installed: requirements-lab.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "REFUSED: Python 3.11 or newer is missing" >&2; echo "HINT: apt-get install python3 python3-venv" >&2; exit 3; }
	@echo "installing into $(VENV)" >&2
	@[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --require-hashes --no-deps --no-compile -r requirements-lab.lock # it names all
	@$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true # on all cores; templates in packages fail
	@$(VENV)/bin/python -m pip check --quiet
	@$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

machine: ## what the lab needs of the machine: Debian packages (as root) and Go
	@deployments/machine.sh
