# Two commands to remember: `make run` (the whole night on demo data) and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
STORE  ?= store
DEMO   ?= real

.DEFAULT_GOAL := help
.PHONY: help run test check format clean deploy bench bench-flow bench-bpr bench-bpr-quality bench-evaluation bench-prepare bench-real-data

help:
	@echo "make run     install into $(VENV), make demo data, run the whole flow, print the result"
	@echo "make test    install what tests need and run them"
	@echo "make check   ruff, mypy, import contract"
	@echo "make format  let ruff format and fix"
	@echo "make deploy  pools, deployments and automations onto the Prefect server PREFECT_API_URL"
	@echo "make bench   everything below beside its peers: bench-bpr, bench-bpr-quality, bench-evaluation,"
	@echo "             bench-prepare, bench-real-data, bench-flow; JSON in build/bench"
	@echo "make clean   remove environment, caches and everything a run wrote"

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	@echo "installing into $(VENV) (a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what tests and checks need"
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: $(VENV)/.installed
	$(BIN)/recsys demo-data --size $(DEMO) --output data/demo
	$(BIN)/recsys prepare data/demo/reviews.csv --items data/demo/products.csv --store $(STORE)
	$(BIN)/python -m flows.train_cf --config deployments/training_config.yaml --store $(STORE)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

deploy: $(VENV)/.installed
	$(BIN)/python deployments/deploy.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The peers are no part of the product: cornac and irspack come with the extra "bench" alone.
$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	@touch $@

bench-prepare: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_prepare.py

bench: bench-bpr bench-bpr-quality bench-evaluation bench-prepare bench-real-data bench-flow

bench-bpr: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_bpr.py

bench-bpr-quality: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_bpr_quality.py
	$(BIN)/python tests/benchmarks/bench_bpr_warm.py

bench-flow: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_flow.py

bench-real-data: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/bench_real_data.py

bench-evaluation: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_evaluation.py

clean:
	rm -rf $(VENV) build dist data artifacts logs .state $(STORE) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
