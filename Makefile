# One command per wish. `make test` works on a bare machine: it makes the environment, installs what
# is missing and runs every check. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: docs test-combinations up-local release-check up down help env servers test test-plugins test-matrix check-matrix check unit demo bench bench-peers check-bytecodes soak format generate lock clean

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

# Compiled as pip does it (uv does not): hundreds of processes start in the tests, and where Python
# may not write bytecode each would compile livekit-agents anew, 3 s of CPU. Templates that are no
# Python do not compile; that is no failure.
$(STAMP): requirements/dev.txt $(BIN)/uv pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	-$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null
	@touch $@

servers: env ## install the real servers the tests run against (Debian packages when root)
	$(BIN)/python tools/install_servers.py

check: env ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: env ## the quick tests: no process, no server
	$(BIN)/python -m pytest -q -m "unit or host_contract"

# Two files at a time, but where real servers answer within their time limits: one at a time.
test: servers check ## every check and test, on the newest livekit-agents
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile -m "not (chain or contract)"
	$(BIN)/python -m pytest -q --durations=10 -m "chain or contract"

test-plugins: env ## released speech plugins, each in its own environment, against loopback servers
	$(BIN)/python tools/plugins.py

test-combinations: env ## Langfuse, Logfire, Sentry, Datadog beside us, each really run; writes docs/opentelemetry.md
	$(BIN)/python tools/combinations.py

test-matrix: servers ## the LiveKit suites on every supported livekit-agents; writes docs/compatibility.md
	$(BIN)/python tools/matrix.py

check-matrix: servers ## the same with fewer tests (2 minutes), and docs/compatibility.md must say what was found
	$(BIN)/python tools/matrix.py --check

demo: env ## every storm on real parts, guards off and on; writes demo-report.html
	$(BIN)/runguard-otel demo

bench: env ## measure what is claimed; prints goal, measured, ratio and writes bench-results.json
	$(BIN)/python -m bench

bench-peers: env ## what other packages add to a turn, and what we do: bytecodes and CPU; installs them in .cache
	$(BIN)/python -m bench peers

check-bytecodes: env ## our own bytecodes of a turn must be below the committed ceiling
	$(BIN)/python -m bench.bytecodes

soak: env ## the long versions: 1,000 job processes, a day of a busy worker, 10,000 rooms, 5,000 odd command lines, every call judged again, a week of a fleet
	$(BIN)/python -m bench --soak
	SOAK_CASES=5000 $(BIN)/python -m pytest -q tests/unit/test_cli_fuzz.py
	SOAK_ORDERS=10000 $(BIN)/python -m pytest -q --timeout 3600 -n 2 tests/unit/test_watch_orders.py tests/unit/test_telemetry_block_order.py
	$(BIN)/python -m pytest -q -p tests.kit.journal_corpus -m livekit tests/livekit --ignore tests/livekit/test_bench_ceiling.py
	SOAK_WEEK=1 $(BIN)/python -m pytest -q tests/chain/test_oncall_week.py

release-check: env ## build wheel and sdist, install the wheel bare, look at its files and licences
	$(BIN)/python -m tools.release_check

docs: env ## the API reference as a static site in build/api; every link of it and of the docs checked
	$(BIN)/python -m tools.api_docs

up: env ## LiveKit, a sample agent with a caller, collector, Prometheus, Alertmanager, Grafana in Docker
	rm -f deploy/agent/wheels/*.whl
	$(BIN)/python -m hatchling build -t wheel -d deploy/agent/wheels
	docker compose up -d --build

up-local: servers ## the same as plain processes, from the same files; LIVEKIT_URL names a server
	$(BIN)/python -m tools.up_local

down: ## stop them and forget their data
	docker compose down -v

generate: env ## rewrite every generated file (docs, dashboards, alerts)
	$(BIN)/python tools/generate.py

format: env ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(BIN)/uv ## resolve requirements/*.in and those in its folders (may change versions)
	for wanted in requirements/bootstrap requirements/dev $(basename $(wildcard requirements/matrix/agents-*.in requirements/plugins/*.in requirements/combinations/*.in requirements/peers/*.in)); do \
	  case $$wanted in requirements/*/*) hashes= ;; *) hashes=--generate-hashes ;; esac; \
	  case $$wanted in requirements/combinations/*|requirements/peers/*) python=3.11 ;; *) python=3.10 ;; esac; \
	  $(BIN)/uv pip compile --quiet --universal --python-version $$python $$hashes \
	    --no-header --no-annotate --no-emit-index-url -o $$wanted.txt $$wanted.in || exit 1; \
	done

clean: ## remove everything that was built
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
