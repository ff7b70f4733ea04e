# One command per wish. `make test` works on a bare machine: it makes the environment, installs what
# is missing and runs every check. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: up down help env servers test test-matrix check-matrix check unit demo bench soak format generate lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

env: $(STAMP) ## make .venv with the locked versions

# uv is fetched by pip, pinned; it then installs the lock file, every file checked by its hash.
$(BIN)/uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "Python 3.10 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(STAMP): requirements/dev.txt $(BIN)/uv pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

servers: env ## install the real servers the tests run against (Debian packages when root)
	$(BIN)/python tools/install_servers.py

check: env ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: env ## the quick tests: no process, no server
	$(BIN)/python -m pytest -q -m "unit or host_contract"

test: servers check ## every check and test, on the newest livekit-agents
	$(BIN)/python -m pytest -q --durations=10

test-matrix: servers ## the LiveKit suites on every supported livekit-agents; writes docs/compatibility.md
	$(BIN)/python tools/matrix.py

check-matrix: servers ## the same with fewer tests (2 minutes), and docs/compatibility.md must say what was found
	$(BIN)/python tools/matrix.py --check

demo: env ## every storm on real parts, guards off and on; writes demo-report.html
	$(BIN)/runguard-otel demo

bench: env ## measure what is claimed; prints goal, measured, ratio and writes bench-results.json
	$(BIN)/python -m bench

soak: env ## the long versions: 1,000 job processes, 10,000 rooms
	$(BIN)/python -m bench --soak

up: ## LiveKit, a sample agent, collector, Prometheus, Alertmanager and Grafana in Docker
	docker compose up -d --build

down: ## stop them and forget their data
	docker compose down -v

generate: env ## rewrite every generated file (docs, dashboards, alerts)
	$(BIN)/python tools/generate.py

format: env ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(BIN)/uv ## resolve requirements/*.in and requirements/matrix/agents-*.in (may change versions)
	for wanted in requirements/bootstrap requirements/dev $(basename $(wildcard requirements/matrix/agents-*.in)); do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	    --no-header --no-annotate --no-emit-index-url -o $$wanted.txt $$wanted.in || exit 1; \
	done

clean: ## remove everything that was built
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
