# `make figures` and `make test` are all a new machine needs; every target can be repeated and none needs root.

PYTHON ?= python3
CORES ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

CLUSTER_STAMP := $(VENV)/.installed-cluster
DOCS_STAMP := $(VENV)/.installed-docs

.PHONY: help figures estimate check families report test test-fast test-long fuzz benchmarks environment environment-cluster docs lint format lock config clean

help:
	@echo "make figures      set up the environment and make every figure of config.yaml (CORES=2)"
	@echo "make report       the same, then one file, report.html: what was run, claims, all figures and tables with captions"
	@echo "make estimate     what make figures would take on this machine, before it starts: minutes, memory, disk"
	@echo "make check MODEL=FOLDER  which analyses a model can have, and why not the others"
	@echo "make test         set up the environment and run all tests"
	@echo "make test-fast    the tests of the library and of the data alone, without Snakemake and without drawing (three minutes)"
	@echo "make families     every model type of transformers through every analysis (half an hour); writes docs/models.md"
	@echo "make test-long    what takes too long for every day: a Slurm makes everything, every architecture runs through everything,"
	@echo "                  faults in the plain interpreter, and more of what make test has a sample of"
	@echo "make fuzz         hostile input of every kind: FUZZ=10000 examples, other ones each time"
	@echo "make benchmarks   time each analysis against its published way (after make figures)"
	@echo "make environment  only set up the environment in $(VENV)"
	@echo "make environment-cluster  the same with Snakemake's plugins for clusters (docs/clusters.md)"
	@echo "make docs         the documentation as a site in results/site, with a reference of the library; no link leads nowhere"
	@echo "make lint         ruff, mypy, snakefmt and snakemake --lint"
	@echo "make format       let ruff and snakefmt rewrite the code"
	@echo "make config       write config.yaml, its schema and docs/'s tables of options anew from the options' one home"
	@echo "make lock         resolve requirements.in into requirements.lock"

environment: $(STAMP)

# torch first and on its own: anything else that asks for torch would bring a build with gigabytes of CUDA packages.
# Everything else is checked by sha256 (torch's wheel differs between its CPU and CUDA builds, so it has none).
$(STAMP): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed; install Python 3.11 or newer, or set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $$($(PYTHON) --version) is too old; Python 3.11 or newer is needed. Set PYTHON=python3.11, for example."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "make: this Python cannot make virtual environments; install its venv package (Debian: python3-venv)."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	grep -v '^torch==' requirements.lock > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $(VENV)/requirements.txt
	touch $(STAMP)

environment-cluster: $(CLUSTER_STAMP)

$(CLUSTER_STAMP): $(STAMP) requirements-cluster.lock
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-cluster.lock
	touch $(CLUSTER_STAMP)

$(DOCS_STAMP): $(STAMP) requirements-docs.lock
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-docs.lock
	touch $(DOCS_STAMP)

# One line for each finished job instead of every job's block and bars; .snakemake/log has everything.
figures: $(STAMP)
	PYTHONPATH=scripts TQDM_DISABLE=1 $(BIN)/snakemake --logger progress --cores $(CORES) figures/all

# Needs no network: what the page uses comes with Snakemake.
report: figures
	$(BIN)/snakemake --cores $(CORES) overview
	$(BIN)/snakemake --cores $(CORES) --report report.html overview

# Two processes of one thread each use two cores better than one of two. A module's tests stay in one process, in the order
# of tests/conftest.py (the fast ones first); xdist would begin with the modules of most tests.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadscope --no-loadscope-reorder

test: $(STAMP)
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m 'not slow' tests/unit tests/data --ignore tests/unit/plots

test-long: $(CLUSTER_STAMP)
	$(PYTEST) --long tests/cluster tests/device/test_stages.py tests/workflow/test_paper.py tests/workflow/test_faults.py tests/workflow/test_kills.py \
		tests/reference/analyses/head_categories/test_every_family.py
	$(PYTEST) --long -m long

estimate: $(STAMP)
	$(BIN)/python scripts/estimate.py --cores $(CORES) figures/all

check: $(STAMP)
	@test -n "$(MODEL)" || { echo "make: say which model: make check MODEL=results/models/NAME"; exit 1; }
	$(BIN)/python scripts/check_model.py $(MODEL)

families: $(STAMP)
	PYTHONPATH=scripts:tests OMP_NUM_THREADS=1 $(BIN)/python tests/family_matrix.py --json results/families.json --write docs/models.md

# FUZZ examples over all kinds of input, other ones each time; `make test` tries a few hundred, always the same.
FUZZ ?= 10000
fuzz: $(STAMP)
	FUZZ=$(FUZZ) $(PYTEST) tests/fuzz

benchmarks: $(STAMP)
	$(BIN)/python benchmarks/run_all.py

docs: $(DOCS_STAMP)
	$(BIN)/mkdocs build --strict --quiet
	@echo "results/site/index.html"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

# From scripts/atlas/analyses/*/options.yaml and plot_*.yaml, where each option stands once.
config: $(STAMP)
	PYTHONPATH=scripts $(BIN)/python -m atlas.config.generate

# torch is left out of the resolution (and stands in requirements.in with what it needs itself), see above; playwright, because
# of the package that asks for it only axe-core's script is read.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	printf 'torch\nplaywright\n' > $(VENV)/excluded.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--excludes $(VENV)/excluded.txt requirements.in -o $(VENV)/resolved.txt
	{ grep '^torch==' requirements.lock; cat $(VENV)/resolved.txt; } > $(VENV)/new.lock && mv $(VENV)/new.lock requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--constraints requirements.lock requirements-cluster.in -o requirements-cluster.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--constraints requirements.lock requirements-docs.in -o requirements-docs.lock
	$(BIN)/python envs/from_lock.py

clean:
	rm -rf results/activations results/metrics results/tables results/captions figures
