"""What several rules share."""


# An edit of the code that measures must measure anew; Snakemake sees files, not imports.
def sources(*patterns):
    """Files of the repository that match."""
    root = Path(workflow.basedir)
    return sorted(str(path) for pattern in patterns for path in root.glob(pattern))


MEASURING_CODE = sources(
    "graph_gen/**/*.py",
    "graph_gen/descriptions/*.yaml",
    "hardware_modules/*.py",
    "benchmark/runner.py",
)
SIMULATING_CODE = sources("simulators/**/*.py", "simulators/*/hardware/*.yaml")
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


def computed(wildcards):
    """Whether the platform's times are computed: then nothing that runs beside disturbs them."""
    described = load_platform(platform_description(wildcards))
    return described.module.endswith("_simulated") or described.module == "ethos_u"


def measuring_threads(wildcards):
    """Cores of a measuring job: all of them where times are taken, so that nothing runs beside."""
    return 1 if computed(wildcards) else workflow.cores


def measuring_device(wildcards):
    """Devices of a measuring job."""
    return 0 if computed(wildcards) else 1


def measuring_code(wildcards):
    """What a measurement on the platform depends on."""
    described = load_platform(platform_description(wildcards))
    simulated = described.module.endswith("_simulated")
    return MEASURING_CODE + (SIMULATING_CODE if simulated else [])


def platform_description(wildcards):
    """The platform's YAML."""
    return platform_file(CONFIG_FILE, wildcards.platform)


def liked_descriptions(wildcards):
    """The YAML of the platforms that it is like."""
    return platform_files(platform_description(wildcards))[1:]


def fit_options(wildcards):
    """How the platform's models are fitted, as options of the command."""
    described = platform_description(wildcards)
    fit = load_platform(described).apply(RUN, described).fit
    return (
        f"--trees {fit.trees} --minimum-leaf {fit.minimum_leaf} --learner {fit.learner}"
    )
