# The two commands are `make serve` and `make test`; `make help` lists the rest.
# Everything that has a decision in it is a Python script under scripts/, standard library only.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
ARGS ?=

VENV   := .venv
SERVE  := $(VENV)/.ready-serve
DEV    := $(VENV)/.ready-dev
PY     := $(VENV)/bin/python
FIND   := sh scripts/find-python.sh
# The folders whose tests are about other processes, in which no coverage is measured.
ELSEWHERE := bench clients crash docs examples hostile nodes packaging peers
ENTRY  := scripts/environment.py pyproject.toml

.PHONY: help serve test test-all test-oldest coverage check format bench docs news build clean outside

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
	  printf '%-20s %s\n' "$$name" "$$text"; done

serve: $(SERVE) ## serve ./data at http://127.0.0.1:8080/files/ (more flags: ARGS="--port 9000")
	@exec $(VENV)/bin/vectus serve ./data $(ARGS)

test: outside $(DEV) ## set everything up and run every test (a part of them: ARGS="tests/clients -k curl")
	@exec $(PY) -m pytest -n auto $(ARGS)

test-all: outside $(DEV) ## the same on every Python from 3.11 up that is here, and on the oldest dependencies
	@exec $(PY) scripts/every_python.py $(ARGS)

test-oldest: outside ## the same on the oldest dependencies that pyproject.toml allows
	@exec $$($(FIND)) scripts/every_python.py --only-oldest $(ARGS)

coverage: $(DEV) ## say which lines no test reaches; in protocol and engine there may be none
	@$(PY) -m coverage run -m pytest --quiet $(ELSEWHERE:%=--ignore=tests/%) $(ARGS)
	@$(PY) -m coverage report
	@$(PY) -m coverage report --include='src/vectus/protocol/*,src/vectus/engine/*' --fail-under=100

check: $(DEV) ## format, lint, types, architecture, docs/protocol.md: in seconds
	@$(PY) -m ruff format --check --quiet . || { echo 'Some files are not formatted: make format'; exit 1; }
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy
	@$(PY) -m pytest --quiet --no-header -p no:randomly tests/architecture tests/docs/test_protocol_table.py

format: $(DEV) ## write the formatting and the safe fixes
	@$(PY) -m ruff format --quiet .
	@$(PY) -m ruff check --quiet --fix .

bench: $(DEV) ## measure speed and memory beside the floor (a peer beside it: ARGS="--peer NAME=COMMAND")
	@exec $(PY) -m benchmarks $(ARGS)

docs: $(DEV) ## write docs/protocol.md anew from the tests, and the tables of docs/cli.md from the help
	@$(PY) scripts/protocol_table.py
	@$(PY) scripts/cli_reference.py

news: $(DEV) ## show what CHANGELOG.md would say of the next version
	@$(PY) -m towncrier build --draft --version next

build: $(DEV) ## make the wheel and the source archive in dist/
	@$(PY) -m hatchling build

clean: ## remove everything that was made here, but no uploads
	rm -rf $(VENV) .venvs .coverage dist build tests/js/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(SERVE): $(ENTRY)
	@python=$$($(FIND)) && "$$python" scripts/environment.py $(VENV) && touch $@

$(DEV): $(ENTRY)
	@python=$$($(FIND)) && "$$python" scripts/environment.py $(VENV) --group dev && touch $(SERVE) $@

outside:
	@python=$$($(FIND) 2>/dev/null || $(FIND) --any) && "$$python" scripts/outside.py
