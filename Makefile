# Everything a developer does here is a target; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BUILT := $(VENV)/.built

.DEFAULT_GOAL := help
.PHONY: help setup clients demo check lint format test test-fast test-without-c test-processes docs quality site lock clean
CLIENTS := .cache/venvs/aws-cli/.installed .cache/venvs/sagemaker-2/.installed .cache/venvs/sagemaker-3/.installed \
  .cache/venvs/frameworks/.installed .cache/venvs/docs/.installed .cache/javascript/.installed
TORCH := torch==2.13.0
# Processes that run tests side by side: fast tests compute, the others wait most of the time.
FAST := --numprocesses logical --maxprocesses 4 --dist worksteal
PROCESSES := --numprocesses 4 --dist loadfile
TWINS := tests/unit/gateway tests/unit/transport $(addprefix tests/unit/worker/test_,batcher.py worker_server.py worker_streams.py) \
  $(addprefix tests/unit/frameworks/test_,answers.py answers_together.py bodies.py)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(BUILT) ## install Modelyard and its tools into .venv

$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Modelyard needs Python 3.11 or newer; this is " + sys.version.split()[0] \
	  + ". Name another with: make setup PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements/dev.lock pins (about 400 MB; a minute or two) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --compile --require-hashes -r requirements/dev.lock
	$(BIN)/python -m compileall -q src  # Where Python may write no bytecode, each process would compile it all anew.
	@touch $(STAMP)

# Modelyard itself, with its C where there is a compiler: anew when the C has changed, such as by a git pull.
$(BUILT): $(STAMP) setup.py $(wildcard src/modelyard/native/*.[ch])
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -c 'from modelyard import native; print(f"The hot paths run {native.in_words()}.")'
	@touch $(BUILT)

clients: $(CLIENTS) ## install AWS clients, heavy frameworks and mkdocs for the tests, each in an environment of its own

.cache/venvs/%/.installed: requirements/%.lock
	$(PYTHON) -m venv .cache/venvs/$*
	.cache/venvs/$*/bin/python -m pip install --quiet --disable-pip-version-check --compile --require-hashes -r $<
	@touch $@

# torch comes last and by its version alone: its CPU build is not in every index, and has a checksum of its own.
# Nothing is compiled: this is the Python of .venv, has what was built there, and tests that run may be using it.
.cache/venvs/frameworks/.installed: requirements/frameworks.lock pyproject.toml
	$(PYTHON) -m venv .cache/venvs/frameworks
	.cache/venvs/frameworks/bin/python -m pip install --quiet --disable-pip-version-check --compile --require-hashes -r $<
	.cache/venvs/frameworks/bin/python -m pip install --quiet --disable-pip-version-check --compile $(TORCH)
	CC=false .cache/venvs/frameworks/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# Where there is no node, its test skips.
.cache/javascript/.installed: tests/clients/javascript/package-lock.json
	mkdir -p .cache/javascript
	cp tests/clients/javascript/package.json tests/clients/javascript/package-lock.json .cache/javascript
	if command -v npm > /dev/null; then npm ci --prefix .cache/javascript --silent --no-audit --no-fund --ignore-scripts \
	  || echo "npm could not install the AWS SDK for JavaScript: its test skips."; fi
	@touch $@

demo: setup ## train a model on real data, serve it, ask it, score a file with it, see a bad version roll back
	$(BIN)/python examples/demo.py

check: lint test-fast test-without-c ## format, lint, types, import contracts, fast tests

lint: setup ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-fast: setup ## unit tests, contracts and state machines: seconds
	$(BIN)/python -m pytest $(FAST) tests/unit tests/machines tests/contract tests/conformance

test-without-c: setup ## what has a twin in C, as where there is no compiler
	$(BIN)/python -m pytest $(FAST) --without-c $(TWINS)

test-processes: setup clients ## what real processes and clients show: minutes
	$(BIN)/python -m pytest $(PROCESSES) tests/crash tests/system

test: test-fast test-without-c test-processes ## every test

docs: setup ## generate the pages that come from the code
	$(BIN)/python -m modelyard.server.reference > docs/reference/operations.md
	for page in commands settings; do $(BIN)/python -m modelyard.cli.reference $$page > docs/reference/$$page.md || exit 1; done

quality: setup ## measure the AI services' models on data that packages carry, and write the page: minutes, and a network
	$(BIN)/python -m benchmarks.quality

site: .cache/venvs/docs/.installed ## build the documentation into build/site; a dead link fails
	NO_MKDOCS_2_WARNING=1 .cache/venvs/docs/bin/mkdocs build --strict

lock: setup ## pin the dependencies of pyproject.toml anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra all --group dev \
	  --generate-hashes --no-header --no-annotate --quiet --upgrade --output-file requirements/dev.lock
	$(BIN)/uv pip compile requirements/frameworks.in pyproject.toml --universal --python-version 3.11 --extra all \
	  --constraint requirements/dev.lock --generate-hashes --no-header --no-annotate --quiet --upgrade \
	  --output-file requirements/frameworks.lock
	for name in aws-cli sagemaker-2 sagemaker-3 docs; do \
	  $(BIN)/uv pip compile requirements/$$name.in --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate --quiet --upgrade --output-file requirements/$$name.lock; done

clean: ## remove what the other targets made, but not your platform's home
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
