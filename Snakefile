"""Strata's pipeline: benchmarks in, platform models and the papers' tables out.

    snakemake --profile profiles/default --configfile config/default.yaml

Of other platforms than the configuration's: --config 'platforms=[ncs2]' behind it. The
configuration is validated before anything runs; platforms are a wildcard.
"""

from pathlib import Path
from sys import executable

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from benchmark.config import (
    load_config,
    load_platform,
    platform_file,
    platform_files,
)
from hardware_modules.registry import create
from strata.errors import StrataError

min_version("9.0")


# For runs with --software-deployment-method apptainer; without it the environment is .venv/.
container: "docker://python:3.11"


CONFIG_FILE = (
    workflow.configfiles[-1] if workflow.configfiles else "config/default.yaml"
)
try:
    RUN = load_config(CONFIG_FILE, config.get("platforms"))
    for name in RUN.platforms:
        load_platform(platform_file(CONFIG_FILE, name))
except StrataError as error:
    raise WorkflowError(str(error))

RESULTS = f"results/{RUN.name}"


wildcard_constraints:
    platform="|".join(RUN.platforms),
    phase=r"sweeps|samples|mapping|round\d+",
    round=r"\d+",
    chunk=r"\d+",
    part=r"\d+",


include: "rules/common.smk"
include: "rules/networks.smk"
include: "rules/measure.smk"
include: "rules/model.smk"
include: "rules/fusion.smk"
include: "rules/evaluate.smk"


rule all:
    default_target: True
    input:
        expand(f"{RESULTS}/{{platform}}/{{platform}}.strata", platform=RUN.platforms),
        expand(f"{RESULTS}/{{platform}}/report/index.html", platform=RUN.platforms),
    message:
        f"platform models and reports are in {RESULTS}"
