# `make` alone prints this help. Everything works from a fresh clone with Python >= 3.11 and make.
# ARGS="…" is handed on: make test ARGS="-k promote -x"
.DEFAULT_GOAL := help
.PHONY: help setup majors demo test test-majors test-faults soak simulate fix lint lint-style lint-format lint-types lint-imports lint-house \
	 bench bench-compare bench-failover bench-fleet pictures wheel deb deb-trial lock clean
BIN := .venv/bin
ARGS ?=
MAJORS ?= 14 16 17 18
MINUTES ?= 30
PROTECTION ?= quorum
NODES ?= 3

help:  ## Print this help.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup:  ## Make .venv with all pinned packages; at once when nothing changed.
	@scripts/setup

majors: setup  ## Fetch the PostgreSQL majors that the tests run on.
	@scripts/postgres-majors

demo: setup  ## Show a failover on this machine, with real servers and a writer.
	$(BIN)/pgvigil demo $(ARGS)

test: majors  ## Run all tests that need no root.
	$(BIN)/pytest -m "not faults" -n 3 --dist worksteal --durations 10 $(ARGS)

test-majors: setup  ## Test failover, switchover and rebuilding on PostgreSQL 14, 16, 17 and 18, the longest tests on 15 alone: make test-majors MAJORS=13.
	@scripts/postgres-majors $(MAJORS)
	PGVIGIL_MAJORS="$(MAJORS)" $(BIN)/pytest -n 3 --dist worksteal tests/postgres/test_failover.py \
	  tests/postgres/test_switchover.py tests/postgres/test_rebuild.py \
	  -k "not (twenty_rounds or dies_anywhere or dead_controller or wal_is_gone or does_not_catch_up)" $(ARGS)

test-faults: majors  ## Run the fault tests on hosts made of network namespaces; needs root.
	$(BIN)/pytest -m faults -n 3 --dist worksteal --durations 10 $(ARGS)

soak: majors  ## Draw faults at random under writers: make soak MINUTES=30 SEED=7 PROTECTION=async NODES=3; needs root.
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) --protection $(PROTECTION) \
	  --nodes $(NODES) $(ARGS)

lint: lint-style lint-format lint-types lint-imports lint-house  ## Check style, types, import contracts and house rules (make -k lint shows all faults).
lint-style: setup
	$(BIN)/ruff check
lint-format: setup
	$(BIN)/ruff format --check
lint-types: setup
	$(BIN)/mypy
lint-imports: setup
	$(BIN)/lint-imports --no-cache
lint-house: setup
	$(BIN)/pytest -q tests/house

simulate: setup  ## Run 510 seeds of today on simulated clusters: both protections, 2, 3 and 5 nodes.
	$(BIN)/python -m tests.simulation.fresh

fix: setup  ## Repair what can be repaired by machine: style and format.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup  ## Run every benchmark, and print its table.
	@set -e; for file in bench/[a-z]*.py; do echo "== $$file"; $(BIN)/python "$$file" $(ARGS); done

bench-fleet: setup  ## Measure what many clusters cost one controller: make bench-fleet ARGS="100 1000 --crash 50".
	$(BIN)/python -m bench.fleet $(or $(ARGS),10 100 1000)

bench-compare: setup  ## Measure pgvigil beside Patroni, repmgr and pg_auto_failover (Debian's packages); needs root.
	$(BIN)/python -m bench.compare $(ARGS)

bench-failover: setup  ## Measure how long writes stand still in a failover.
	$(BIN)/python bench/failover.py $(ARGS)

pictures: setup  ## Take the pictures of the dashboard for the documentation anew; needs Chromium.
	$(BIN)/python -m tests.browser

wheel: setup  ## Make the wheel in dist/.
	$(BIN)/python -m hatchling build -t wheel -d dist

deb: setup  ## Make the Debian package in dist/; needs pandoc and dpkg.
	package/debian/build

deb-trial: setup  ## Install, upgrade, remove Debian packages: make deb-trial OLD=old.deb NEW=new.deb; needs root.
	unshare --mount $(BIN)/python package/debian/trial.py $(OLD) $(NEW)

lock: setup  ## Renew the pinned packages within pyproject.toml; ARGS=--upgrade for the newest.
	scripts/lock $(ARGS)

clean:  ## Remove what the other targets made here (not the cache of PostgreSQL servers).
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
