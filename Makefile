# `make run` and `make test` do all the set-up; a fresh clone needs only Python 3.11, make and git.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= default
INSTALLED = .venv/.installed
BIN = .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run published test test-slow clean

run: $(INSTALLED)
	snakemake --profile profiles/default --configfile config/$(CONFIG).yaml
	strata estimate $(EXAMPLE) --platform results/$(CONFIG)/openvino_cpu/openvino_cpu.strata
	strata estimate $(EXAMPLE) --platform results/$(CONFIG)/dpu_zcu102/dpu_zcu102.strata
	@echo "platform models: results/$(CONFIG)/*/*.strata"
	@echo "reports:         results/$(CONFIG)/*/report/index.html"

EXAMPLE = results/$(CONFIG)/networks/table2/resnet18.json

# simulated platforms against published measurements
published: $(INSTALLED)
	python -m evaluation.published --output results/published

test: $(INSTALLED)
	ruff check . && ruff format --check . && mypy && lint-imports
	snakemake --lint --configfile config/tiny.yaml
	pytest

test-slow: $(INSTALLED)
	pytest -m slow

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv .snakemake
