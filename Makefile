# What one does with this project, by fixed names. Every target sets up what it needs.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# The virtual environment is the only place for packages, whatever the user's pip settings say.
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONNOUSERSITE := 1
# Without compiled modules, each process of the tests would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE
# In a locale without UTF-8, Python could not read the path of a checkout that is not ASCII (in site-packages/*.pth).
export LC_ALL := C.UTF-8

.PHONY: setup help demo unit test deployment check format coverage crash bench docs release lock clean

setup: $(READY) ## The virtual environment, from the locks.

$(READY): requirements/build.txt requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is not Python 3.11 or newer; name one that is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: this Python cannot make virtual environments; install its venv package (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@rm -f $(READY)
	@$(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing the locked packages into $(VENV)"
	@$(VENV)/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/build.txt
	@$(VENV)/bin/python -m pip install --quiet --require-hashes --only-binary :all: --no-binary memoization,jieba --no-build-isolation -r requirements/dev.txt
	@$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

help: ## This list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup ## The main job on real documents, from an empty machine to nothing left running.
	@streams demo

unit: setup ## The unit tests: no server, within a minute.
	@python -m pytest -n 2 tests/unit

# One process runs all tests of a file. Without an order of their own, files with few and long tests would come last, and
# one process would wait for the other for a minute.
# A process of the tests that dies fails the run at once; in place of it, the run would wait for it for ever.
LONG_FILES_FIRST := --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# The tests wait for servers for a part of their time: on two cores, four processes need less time than two or three.
PROCESSES ?= 4

test: setup ## Unit and integration tests, on a real local stack.
	@python -m pytest -n $(PROCESSES) $(LONG_FILES_FIRST) tests/contract tests/integration tests/unit

deployment: setup ## What a user gets: documentation, demo, packages, image, chart, TLS, collectors, dashboards.
	@python -m pytest -n $(PROCESSES) $(LONG_FILES_FIRST) tests/deployment

# Workers and commands that the tests start are measured too; a worker that is killed takes its data with it.
coverage: setup ## Lines of delivery, transport and publishing that no test runs; make coverage ONLY=tests/unit for a part.
	@coverage erase
	@status=0; coverage run -m pytest -n $(PROCESSES) $(LONG_FILES_FIRST) $(or $(ONLY),tests/contract tests/integration tests/unit) || status=$$?; \
	coverage combine --quiet && coverage report --include='streams/delivery/*,streams/transport/*,streams/publishing/*' && exit $$status

crash: setup ## The long fault scenarios: servers and workers are killed, frozen, cut off.
	@python -m pytest tests/crash

PEERS := $(VENV)/.peers

$(PEERS): $(READY) requirements/bench.txt
	@echo "installing the peers that are measured beside the pipeline"
	@$(VENV)/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/bench.txt
	@touch $(PEERS)

bench: $(PEERS) ## Speed and size against their targets, as JSON lines; make bench ONLY="indexing-small" SCALE=0.1 for a part.
	@python -m benchmarks $(ONLY) --scale $(or $(SCALE),1)

SITE := $(VENV)/.site

$(SITE): $(READY) requirements/docs.txt
	@echo "installing what builds the site of the documentation"
	@$(VENV)/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/docs.txt
	@touch $(SITE)

# Not --quiet: MkDocs counts only the warnings that it prints, and --strict fails by that count.
docs: $(SITE) ## The documentation as a site, in build/site; make docs REPOSITORY_URL=https://... links to the sources there.
	@NO_MKDOCS_2_WARNING=1 REPOSITORY_URL=$(REPOSITORY_URL) python -m mkdocs build --strict

RELEASE := $(VENV)/.release

$(RELEASE): $(READY) requirements/release.txt
	@echo "installing what checks a release"
	@$(VENV)/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/release.txt
	@touch $(RELEASE)

# PYTHONS: interpreters that are not on the search path. TAG: also checks the version and the changelog.
release: $(RELEASE) ## Build wheel and sdist into dist, and check them; make release TAG=v1.2.0 PYTHONS="/path/python3.13"
	@rm -rf dist
	@python -m build --no-isolation --outdir dist .
	@twine check --strict dist/*
	@python -m release dist $(if $(TAG),--tag $(TAG)) $(foreach python,$(PYTHONS),--python $(python))

check: setup ## Lint, format, types, layers, compatibility of the events with their last released schemas.
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports
	@env -u STREAMS_HANDLERS -u STREAMS_TOPIC_PREFIX streams schemas check --folder schemas/avro

format: setup ## Fix what Ruff can fix, and format the code.
	@ruff check --fix --exit-zero .
	@ruff format .

lock: setup ## New locks from pyproject.toml; needs the network. make lock UPGRADE= keeps the versions that are locked.
	@$(VENV)/bin/python -m venv build/uv
	@build/uv/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/uv.txt
	@build/uv/bin/uv pip compile --quiet $(LOCK_OPTIONS) requirements/uv.in --output-file requirements/uv.txt
	@build/uv/bin/uv pip compile --quiet $(LOCK_OPTIONS) requirements/build.in --output-file requirements/build.txt
	@build/uv/bin/uv pip compile --quiet $(LOCK_OPTIONS) --all-extras pyproject.toml requirements/build.in --output-file requirements/dev.txt
	@build/uv/bin/uv pip compile --quiet $(LOCK_OPTIONS) $(IMAGE_EXTRAS) --constraint requirements/dev.txt pyproject.toml --output-file requirements/image.txt
	@build/uv/bin/uv pip compile --quiet $(LOCK_OPTIONS) requirements/bench.in --output-file requirements/bench.txt
	@build/uv/bin/uv pip compile --quiet $(LOCK_OPTIONS) requirements/docs.in --output-file requirements/docs.txt
	@build/uv/bin/uv pip compile --quiet $(LOCK_OPTIONS) requirements/release.in --output-file requirements/release.txt
	@python -m streams.local.jar_lock

# What the container image has: all but the servers and tools for development.
IMAGE_EXTRAS := $(addprefix --extra ,worker dify s3 opendal milvus encryption registry bridges tracing sentry)
UPGRADE := --upgrade
LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes $(UPGRADE) --no-header --no-annotate --no-emit-index-url --no-emit-find-links

clean: ## Everything that can be made again; local stacks that run are stopped first.
	@test ! -x $(VENV)/bin/streams || $(VENV)/bin/streams local down
	@test ! -x $(VENV)/bin/streams || test ! -d .local-test || STREAMS_LOCAL_DIR=.local-test $(VENV)/bin/streams local down
	@rm -rf $(VENV) .local .local-test build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
