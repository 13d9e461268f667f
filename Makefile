# `make run` and `make test` do all the set-up; a fresh clone needs only Python 3.11, make and git.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= default
INSTALLED = .venv/.installed
BIN = .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run run-ncs2 run-ethos-u accuracy published test test-slow ncs2-toolchain clean

run: $(INSTALLED)
	snakemake --profile profiles/default --configfile config/$(CONFIG).yaml
	strata estimate $(EXAMPLE) --platform results/$(CONFIG)/openvino_cpu/openvino_cpu.strata
	strata estimate $(EXAMPLE) --platform results/$(CONFIG)/dpu_zcu102/dpu_zcu102.strata
	@echo "platform models: results/$(CONFIG)/*/*.strata"
	@echo "reports:         results/$(CONFIG)/*/report/index.html"

# the same pipeline for the NCS2, whose networks Intel's own compiler maps
run-ncs2: ncs2-toolchain
	snakemake --profile profiles/default --configfile config/$(CONFIG).yaml --config 'platforms=[ncs2]'
	strata estimate $(EXAMPLE) --platform results/$(CONFIG)/ncs2/ncs2.strata
	@echo "report: results/$(CONFIG)/ncs2/report/index.html"

# and for Arm's Ethos-U, whose compiler estimates the cycles too
run-ethos-u: $(INSTALLED)
	snakemake --profile profiles/default --configfile config/$(CONFIG).yaml \
	  --config 'platforms=[ethos_u55_256,ethos_u65_512]'
	strata estimate $(EXAMPLE) --platform results/$(CONFIG)/ethos_u55_256/ethos_u55_256.strata
	@echo "reports: results/$(CONFIG)/ethos_u*/report/index.html"

EXAMPLE = results/$(CONFIG)/networks/table2/resnet18.json

# every evaluated platform of the run in one table: aims, noise floor, baselines (docs/accuracy.md)
accuracy: $(INSTALLED)
	python -m evaluation.accuracy results/$(CONFIG)

# simulated platforms against published measurements
published: $(INSTALLED)
	python -m evaluation.published --output results/published

test: $(INSTALLED)
	@$(MAKE) --no-print-directory ncs2-toolchain || echo "tests of the NCS2's compiler are skipped"
	ruff check . && ruff format --check . && mypy && lint-imports
	snakemake --lint --configfile config/tiny.yaml
	pytest -n 2 --dist loadfile

test-slow: $(INSTALLED)
	pytest -m slow

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $@

# Intel's compiler for the NCS2, in an environment of its own (Python 3.9); only measuring needs it
ncs2-toolchain: .ncs2/.installed

.ncs2/.installed: hardware_modules/ncs2_install.py | $(INSTALLED)
	@python -m hardware_modules.ncs2_install .ncs2 "$(NCS2_PYTHON)"
	@touch $@

clean:
	rm -rf .venv .ncs2 .snakemake
