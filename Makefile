# `make run` and `make test` do all the set-up; a fresh clone needs only Python 3.11, make and git.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= default
INSTALLED = .venv/.installed
BIN = .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run test test-slow lint clean

run: $(INSTALLED)
	snakemake --profile profiles/default --configfile config/$(CONFIG).yaml
	strata estimate results/$(CONFIG)/networks/$(EXAMPLE) --platform results/$(CONFIG)/openvino_cpu/openvino_cpu.strata
	@echo "platform model: results/$(CONFIG)/openvino_cpu/openvino_cpu.strata"
	@echo "report:         results/$(CONFIG)/openvino_cpu/report/index.html"

EXAMPLE = table2/resnet18.json

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
