# TaskQL's commands. `make` alone lists them; the first one that needs it sets the machine up.
# Needs Python 3.11+ and the package registries. Another Python: make run PYTHON=python3.12

PORT      ?= 8000
DATA      ?= .taskql
CONSUMERS ?= 1
SEEDS     ?= 20
TASKS     ?= 250
FIRST     ?= 1
ARCH      ?= x86_64
EXTRA     ?=
CASES     ?= 10000
SEED      ?=
BENCH     ?=
LAMBDA_PYTHON ?= 3.13
# Not from the environment: some shells and conda keep a machine's name in a HOST of their own.
HOST      := 127.0.0.1

# The first Python on this machine that is new enough; asked only when an environment has to be made.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

python     := .venv/bin/python
any_python  = $(or $(PYTHON),$(error TaskQL needs Python 3.11 or newer: install one or name it: make PYTHON=/path/to/python3.12))
install     = $(any_python) requirements/install.py

# A stamp is written after its installation is complete, so an interrupted one is taken up again.
running := .venv/.run-installed .venv-emulator/.installed
pages   := web/dist/graphiql.html
shown   := examples/node_modules/.built
clients := tests/node/node_modules/.package-lock.json
peers   := .venv-bench/.installed
all     := $(running) .venv/.dev-installed $(pages) $(shown) $(clients)

.PHONY: help setup run test faults fuzz check format lock schema web examples lambda bench bench-live clean
.DEFAULT_GOAL := help

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s%s\n", $$1, $$2 }'

setup: $(all) ## install everything that running, tests and checks need

run: page := --optional
run: export DATA := $(DATA)
run: $(running) $(pages) ## run it all here (PORT=8000 HOST=127.0.0.1 DATA=.taskql CONSUMERS=1); Ctrl-C stops it
	@exec $(python) -m taskql dev --host '$(HOST)' --port '$(PORT)' --data "$$DATA" --consumers '$(CONSUMERS)' --end-with-parent

test: $(all) ## run the tests, on services of their own; it says which long ones only `make check` runs
	@$(python) -m pytest -rs

faults: $(all) ## break everything at random for long (SEEDS=20 TASKS=250; one seed again: FIRST=7 SEEDS=1)
	@$(python) -m pytest --all tests/faults/test_mutants.py
	@exec $(python) -m tests.faults --seeds '$(SEEDS)' --tasks '$(TASKS)' --first '$(FIRST)'

fuzz: $(all) ## send what no client would (CASES=10000; the same once more: SEED=the number it printed)
	@exec $(python) -m tests.generated --cases '$(CASES)' $(SEED:%=--seed '%')

check: $(all) ## what CI runs: format, lint, types, import rules, then all tests (drift of schema and docs too)
	@$(python) -m ruff format --check --quiet || { echo 'TaskQL: run "make format"' >&2; exit 1; }
	@$(python) -m ruff check --quiet
	@$(python) -m mypy
	@$(any_python) web/build.py --types
	@$(python) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo
	@$(python) -m pytest --all

format: $(all) ## put the code into its one format
	@$(python) -m ruff check --fix --quiet --exit-zero
	@$(python) -m ruff format --quiet

schema: $(running) ## write schema.graphql from the code
	@$(python) -m taskql schema >schema.graphql.new && mv schema.graphql.new schema.graphql || { rm -f schema.graphql.new; exit 1; }

web: $(pages) ## build GraphiQL, which /graphql shows to browsers

examples: $(shown) ## build the examples' pages

lambda: .venv/.dev-installed ## build/lambda.zip (ARCH=x86_64 LAMBDA_PYTHON=3.13 EXTRA=folders of your handlers)
	@$(python) -m deploy.package build/lambda.zip --arch '$(ARCH)' --python '$(LAMBDA_PYTHON)' $(EXTRA:%=--extra '%')

bench: $(running) .venv/.dev-installed $(peers) ## measure it beside what others would use (BENCH="--only ours,yoga --repeats 1")
	@$(any_python) web/build.py --optional --install bench/peers/node
	@exec $(python) -m bench $(BENCH)

bench-live: $(running) .venv/.dev-installed $(peers) ## measure live status beside other servers (BENCH="--only fanout --repeats 1")
	@$(any_python) web/build.py --optional --install bench/peers/node
	@exec $(python) -m bench.live $(BENCH)

lock: .venv/.dev-installed ## compile requirements/*.in into hash-pinned lists
	@for each in run lambda devstack dev emulator node peers bench; do \
		$(python) -m uv pip compile requirements/$$each.in --output-file requirements/$$each.txt --quiet \
			--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header || exit 1; \
	done

clean: ## remove the environments and caches; your data stays
	@rm -rf .venv .venv.lock .venv-emulator .venv-emulator.lock .venv-node .venv-node.lock .venv-bench .venv-bench.lock
	@rm -rf build
	@rm -rf web/node_modules web/dist web/.dist-* web/.build.lock
	@rm -rf tests/node/node_modules bench/peers/node/node_modules
	@rm -rf examples/node_modules examples/*/dist examples/*/src/generated examples/.build.lock
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.run-installed: requirements/run.txt requirements/devstack.txt
	@$(install) .venv $^ && touch $@

.venv/.dev-installed: requirements/dev.txt | .venv/.run-installed
	@$(install) .venv $< && touch $@

.venv-emulator/.installed: requirements/emulator.txt
	@$(install) .venv-emulator $^ && touch $@

# Where the task queues can't be installed, they are left out.
$(peers): requirements/bench.txt requirements/peers.txt
	@$(install) .venv-bench $^ || $(install) .venv-bench $<
	@touch $@

# `make run` goes on without a page; everything else fails where it can't be built.
$(pages): requirements/node.txt web/build.py web/.npmrc $(wildcard web/*.html web/*.json web/*.ts web/src/* web/src/*/*)
	@$(any_python) web/build.py $(page)

$(shown): schema.graphql requirements/node.txt web/build.py examples/.npmrc $(wildcard examples/*.* examples/follow-*/*.* examples/follow-*/src/*.*)
	@$(any_python) -m examples.build

# npm writes this file last, and removes it first.
$(clients): requirements/node.txt web/build.py $(addprefix tests/node/,package.json package-lock.json .npmrc)
	@$(any_python) web/build.py --install tests/node && touch $@
