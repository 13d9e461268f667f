"""What several rules share."""

from glob import glob

# An edit of the code that measures must measure anew; Snakemake sees files, not imports.
MEASURING_CODE = sorted(
    glob("graph_gen/**/*.*", recursive=True)
    + glob("hardware_modules/*.py")
    + [
        "benchmark/plan.py",
        "benchmark/sampling.py",
        "benchmark/sweep.py",
        "benchmark/runner.py",
    ]
)
CHUNKS = {
    "sweeps": RUN.measurement.sweep_chunks,
    "samples": RUN.measurement.sample_chunks,
}


def shards(phase):
    """Shards of one phase, for a rule's input."""
    return [
        f"{RESULTS}/{{platform}}/shards/{phase}-{chunk}.jsonl"
        for chunk in range(CHUNKS[phase])
    ]


def platform_description(wildcards):
    """The platform's YAML."""
    return platform_file(CONFIG_FILE, wildcards.platform)
