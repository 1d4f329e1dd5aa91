# Two commands on a fresh machine: `make demo` and `make test`. Needs CPython 3.11 to 3.13, make, pip and a package index.

VENV   ?= .venv
LAKE   ?= lake
DATA   ?= data
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN    := $(VENV)/bin

.PHONY: demo test check test-long test-long-readers test-long-kill test-long-io test-long-rot test-long-rest test-long-properties test-long-mutation coverage soak test-tools test-airflow test-pythons dist sbom lock format wheel-test clean

demo: $(VENV)/.runs
	$(BIN)/recbatch demo --lake $(LAKE) --data-dir $(DATA)

test: check
	PYTHONPATH=. $(BIN)/sqlfluff lint --processes 2 --disable-progress-bar sql
	$(BIN)/pytest -n 2 --dist worksteal -m "not long and not tools and not airflow" tests/integration tests/generative tests/functional

check: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n 2 --dist loadfile tests/unit

# Under an hour in all, on two cores: two parts at a time; each prints its figures when it is done.
test-long: $(VENV)/.tests
	$(MAKE) -j2 --output-sync=target $(addprefix test-long-,kill io readers rest rot properties mutation)

test-long-readers test-long-kill test-long-io test-long-rot: test-long-%: $(VENV)/.tests
	$(BIN)/pytest -m "long and $*" -s tests/functional

test-long-rest: $(VENV)/.bench
	$(BIN)/pytest -m "long and not (readers or kill or io or rot or soak)" -s tests/functional

# Sixty nights in a row with four faults among them; at most 45 minutes on two cores. Prints a line per night.
soak: $(VENV)/.tests
	timeout 2700 $(BIN)/pytest -m soak -s tests/functional

# What readers' trust rests on: store, lock, manifest, publication, audit. Every branch of it, and each small change of it
# (mutmut), against the quick tests; both lists stand in pyproject.toml.
coverage: $(VENV)/.tests
	$(BIN)/python -m coverage run -m pytest $(TRUSTED)
	$(BIN)/python -m coverage report

TRUSTED := $(addprefix tests/unit/test_,store.py publish.py collecting.py retired.py forgetting.py reader_group.py \
             views_catalog.py views_withdrawn.py) \
           $(addprefix tests/integration/test_,lake_of_a_night.py views_checks.py views_earlier.py)

# The first change of each function and every tenth from there; ONLY="*" takes all, ONLY="recbatch.store*" a module.
# What was killed is remembered in mutants/, so it can be interrupted.
ONLY ?= *1
test-long-mutation: $(VENV)/.tests
	$(BIN)/python -m mutmut run "$(ONLY)"
	$(BIN)/python .ci/mutation.py

test-long-properties: $(VENV)/.tests
	RECBATCH_EXAMPLES=500 $(BIN)/pytest -n 2 --dist worksteal tests/generative tests/unit/test_rules.py

test-tools: $(VENV)/.tests
	@command -v chromium >/dev/null || { echo "make test-tools needs a browser: apt-get install chromium"; exit 1; }
	@command -v npm >/dev/null || { echo "make test-tools needs Node: apt-get install nodejs npm"; exit 1; }
	@command -v cron >/dev/null || test -x /usr/sbin/cron || { echo "make test-tools needs cron: apt-get install cron"; exit 1; }
	$(BIN)/pytest -m tools tests/functional

# Airflow lives in an environment of its own, as it would in production: its pins and TensorFlow's do not meet.
test-airflow: $(VENV)/.tests
	test -x .venv-airflow/bin/airflow || { $(PYTHON) -m venv .venv-airflow && \
	  .venv-airflow/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements-airflow.lock; }
	$(BIN)/pytest -m airflow tests/functional

# A sample night on every CPython of PYTHONS that is here, from the lock and the wheel; others are named and left out.
PYTHONS ?= python3.12 python3.13
test-pythons: dist
	@ran=; for p in $(PYTHONS); do $$p -c "" 2>/dev/null || { echo "$$p: not here, left out"; continue; }; \
	  echo "$$p"; work=$$(mktemp -d) && $$p -m venv $$work/venv && \
	  $$work/venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $$work/venv/bin/pip install -q --disable-pip-version-check --no-deps dist/recbatch-*.whl && \
	  (cd $$work && venv/bin/recbatch nightly --source sample:users=200,titles=120,seed=3 --run-date 2020-02-01 --lake lake \
	     --set train.epochs=30 2>log || { tail -n 5 log; exit 1; }) && \
	  (cd $$work && venv/bin/recbatch status --lake lake && venv/bin/recbatch verify --lake lake) || exit 1; \
	  rm -rf $$work; ran=yes; done; test -n "$$ran" || { echo "none of $(PYTHONS) is here"; exit 1; }

# Built twice from the last commit and compared byte for byte: times come from the commit, modes from git.
dist: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
dist: $(VENV)/.tests
	rm -rf dist && mkdir dist
	set -e; umask 022; work=$$(mktemp -d); trap 'rm -rf $$work' EXIT; for n in 1 2; do mkdir -p $$work/$$n; \
	  git archive HEAD | tar -x -C $$work/$$n; \
	  $(BIN)/python -m build --no-isolation --outdir $$work/dist-$$n $$work/$$n >/dev/null; \
	  $(BIN)/python .ci/reproducible.py $$work/dist-$$n/*.tar.gz; done; \
	  diff -r $$work/dist-1 $$work/dist-2 && cp $$work/dist-1/* dist/
	cd dist && sha256sum recbatch-*

sbom: $(VENV)/.tests
	mkdir -p dist
	$(BIN)/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --of JSON -o dist/recbatch.cdx.json requirements.lock

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
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -q --group pyproject.toml:airflow -o requirements-airflow.lock.new
	for f in requirements requirements-dev requirements-airflow; do \
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

# Peers of the benchmarks, of which a slow test wants one.
$(VENV)/.bench: $(VENV)/.tests
	$(BIN)/pip install -q --disable-pip-version-check -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) .venv-airflow build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
