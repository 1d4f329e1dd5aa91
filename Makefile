# Two commands on a fresh machine: `make demo` and `make test`. Needs CPython 3.11 to 3.13, make, pip and a package index.

VENV   ?= .venv
LAKE   ?= lake
DATA   ?= data
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN    := $(VENV)/bin

.PHONY: demo test check test-long test-tools lock format wheel-test clean

demo: $(VENV)/.runs
	$(BIN)/recbatch demo --lake $(LAKE) --data-dir $(DATA)

test: check
	PYTHONPATH=. $(BIN)/sqlfluff lint --processes 2 --disable-progress-bar sql
	$(BIN)/pytest -n 2 --dist worksteal -m "not long and not tools" tests/integration tests/generative tests/functional

check: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n 2 --dist loadfile tests/unit

test-long: $(VENV)/.tests
	$(BIN)/pytest -m long -s tests/functional

test-tools: $(VENV)/.tests
	@command -v chromium >/dev/null || { echo "make test-tools needs a browser: apt-get install chromium"; exit 1; }
	@command -v npm >/dev/null || { echo "make test-tools needs Node: apt-get install nodejs npm"; exit 1; }
	$(BIN)/pytest -m tools tests/functional

format: $(VENV)/.tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The locks name no index host. `uv` is needed for this target only.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -q pyproject.toml -o requirements.lock.new
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -q -c requirements.lock.new pyproject.toml --group dev \
	  -o requirements-dev.lock.new
	for f in requirements requirements-dev; do \
	  sed -E "s/ ; python_full_version < '3.14' and platform_machine == 'x86_64'( and platform_python_implementation != 'PyPy')? and sys_platform == 'linux'//; \
	          s/ and python_full_version < '3.14' and platform_machine == 'x86_64' and sys_platform == 'linux'//; \
	          s/ and platform_machine == 'x86_64' and sys_platform == 'linux'//" $$f.lock.new > $$f.lock && rm $$f.lock.new; done

$(VENV)/.runs: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "recbatch needs CPython 3.11, 3.12 or 3.13; install one or set PYTHON="; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.tests: $(VENV)/.runs requirements-dev.lock
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
