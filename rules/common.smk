"""What several rules share."""

# An edit of the code that measures must measure anew; Snakemake sees files, not imports.
MEASURING_CODE = sorted(
    str(path)
    for pattern in (
        "graph_gen/**/*.py",
        "graph_gen/descriptions/*.yaml",
        "hardware_modules/*.py",
        "benchmark/runner.py",
    )
    for path in Path(workflow.basedir).glob(pattern)
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
