# Needs Python 3.11 or newer and make, nothing else. PYTHON=python3.12 make demo takes another interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all check notebooks docs bench accuracy bench-accuracy ui clean

demo: $(VENV)/.installed
	$(BIN)/forecast-kit run pipelines/demo.yaml

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2

test-all: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --runslow

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_architecture.py

notebooks: $(VENV)/.installed-dev
	$(BIN)/python notebooks/build.py

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_panel.py
	$(BIN)/python tests/benchmarks/bench_windows.py
	$(BIN)/python tests/benchmarks/bench_metrics.py
	$(BIN)/python tests/benchmarks/bench_statistical.py
	$(BIN)/python tests/benchmarks/bench_recurrent.py
	$(BIN)/python tests/benchmarks/bench_tracking.py

accuracy: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_m4.py
	$(BIN)/python tests/benchmarks/bench_calibration.py

bench-accuracy: $(VENV)/.installed-dev
	$(BIN)/python tests/benchmarks/bench_accuracy.py

ui: $(VENV)/.installed
	$(BIN)/forecast-kit ui

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "forecast_kit needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: PYTHON=python3.12 make $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
