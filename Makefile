# CyberLab. `make run` starts a demo, `make test` tests everything; `make` alone lists the rest.

PY := .venv/bin/python

.PHONY: help run test lint setup setup-dev check bench bench-pages bench-nine screenshots clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done

run: setup ## Start the portal with a simulated Proxmox node on http://127.0.0.1:8080; Ctrl-C ends it
	@exec $(PY) server.py demo

test: setup-dev ## Install what the tests need, then run all of them (some only: make test ARGS="tests/console -x")
	@$(PY) scripts/services.py
	@exec $(PY) -m pytest $(ARGS)

lint: setup-dev ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

setup: ## Make .venv and static/vendor match the requirements
	@scripts/setup

setup-dev: ## The same, with what tests and linters need
	@scripts/setup --dev

check: setup ## Walk the way to the configured cluster, step by step, and explain what fails
	@exec $(PY) server.py check $(ARGS)

bench: setup-dev ## Measure the console gateway
	@exec $(PY) bench/run.py $(ARGS)

bench-pages: setup-dev ## Measure the pages with 10,000 users and 50,000 assignments
	@exec env PYTHONPATH=. $(PY) bench/pages.py $(ARGS)

bench-nine: setup-dev ## Measure a class that opens its consoles at nine o'clock, on simulated nodes with real costs
	@exec env PYTHONPATH=. $(PY) bench/nine.py $(ARGS)

screenshots: setup-dev ## Take the pictures of docs/pages.md (ARGS="--all --into DIR": every page in light, dark, phone, German)
	@exec env PYTHONPATH=. $(PY) scripts/screenshots.py $(ARGS)

clean: ## Remove what the set-up and the tests made; the demo's data in var/ stay
	rm -rf .venv node_modules static/vendor .mypy_cache .ruff_cache .pytest_cache .hypothesis test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
