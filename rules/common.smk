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
    "benchmark/turns.py",
)
SIMULATING_CODE = sources("simulators/**/*.py", "simulators/*/hardware/*.yaml")
CHUNKS = {
    "sweeps": RUN.measurement.sweep_chunks,
    "samples": RUN.measurement.sample_chunks,
    "mapping": RUN.measurement.sample_chunks,
}


def chunks_of(phase):
    """Into how many jobs a phase is cut: sweeps, samples, round1, round2, ..."""
    return CHUNKS.get(phase, RUN.measurement.round_chunks)


def runs_of(phase):
    """How often a graph of a phase runs, as options of the command."""
    if phase == "mapping":  # nothing is timed
        return "--repeats 1 --warmup 0 --device-share 0"
    measured = RUN.measurement
    return (
        f"--repeats {measured.repeats} --warmup {measured.warmup}"
        f" --device-share {measured.device_share}"
    )


def shards(phase):
    """Shards of one phase, for a rule's input."""
    return [
        f"{RESULTS}/{{platform}}/shards/{phase}-{chunk}.jsonl"
        for chunk in range(chunks_of(phase))
    ]


def phases_before(number):
    """Phases that a round knows of, all but itself and later ones."""
    return ["sweeps", "samples", *(f"round{each}" for each in range(1, int(number)))]


def run_on(wildcards):
    """The run's configuration as the platform needs it."""
    described = platform_description(wildcards)
    return load_platform(described).apply(RUN, described)


def network_parts(wildcards):
    """Networks are measured in parts, so that benchmarks and networks see the same machine."""
    asked = RUN.evaluation
    most = min(asked.rounds, 1 + len(shards("samples")))
    parts = 1 if computed(wildcards) else min(asked.parts, most)
    return [
        f"{RESULTS}/{{platform}}/network_parts/{part}.jsonl" for part in range(parts)
    ]


def rounds_of_part(wildcards):
    """Rounds of one part."""
    parts = len(network_parts(wildcards))
    part = int(wildcards.part)
    return RUN.evaluation.rounds * (part + 1) // parts - RUN.evaluation.rounds * part // parts


def shards_before_part(wildcards):
    """What a part follows: the sweeps, or each of the others its own chunk of the samples.

    Chunks are measured in any order; a part that waits has priority before the next of them.
    """
    parts = len(network_parts(wildcards))
    if parts == 1:
        return []
    part, samples = int(wildcards.part), shards("samples")
    before = len(samples) * part // (parts - 1)
    return shards("sweeps") if not before else samples[before - 1]


def measured_shards(wildcards):
    """Shards of everything that is measured on the platform but whole networks."""
    run = run_on(wildcards)
    phases = phases_before(run.rounds.count + 1)
    if any(run.mapping.model_dump().values()):
        phases.append("mapping")
    return [shard for phase in phases for shard in shards(phase)]


def shards_before(wildcards):
    """Shards of the phases before a round."""
    return [
        shard for phase in phases_before(wildcards.round) for shard in shards(phase)
    ]


def plans_before(wildcards):
    """Plans of the phases before a round."""
    return [
        f"{RESULTS}/{{platform}}/plan/{phase}.jsonl"
        for phase in phases_before(wildcards.round)
    ]


def computed(wildcards):
    """Whether the platform's times are computed: then nothing that runs beside disturbs them."""
    described = load_platform(platform_description(wildcards))
    return create(described.module, described.options).simulated


def measuring_threads(wildcards):
    """Cores of a measuring job: all of them where times are taken, so that nothing runs beside."""
    return 1 if computed(wildcards) else workflow.cores


def measuring_device(wildcards):
    """Devices of a measuring job."""
    return 0 if computed(wildcards) else 1


def measuring_module(wildcards):
    """The module that measures the platform, the one inside where it hides another's profiler."""
    described = load_platform(platform_description(wildcards))
    if described.module == "black_box":
        return described.options.get("module", "")
    return described.module


def measuring_code(wildcards):
    """What a measurement on the platform depends on."""
    simulated = measuring_module(wildcards).endswith("_simulated")
    return MEASURING_CODE + (SIMULATING_CODE if simulated else [])


def platform_description(wildcards):
    """The platform's YAML."""
    return platform_file(CONFIG_FILE, wildcards.platform)


def liked_descriptions(wildcards):
    """The YAML of the platforms that it is like."""
    return platform_files(platform_description(wildcards))[1:]


def table_command(wildcards):
    """How shards become tables: from profiles, or from differences of end-to-end times."""
    described = load_platform(platform_description(wildcards))
    return "make_tables" if described.black_box is None else "make_black_box_tables"


def fit_options(wildcards):
    """How the platform's models are fitted, as options of the command."""
    fit = run_on(wildcards).fit
    return (
        f"--trees {fit.trees} --minimum-leaf {fit.minimum_leaf} --learner {fit.learner}"
    )
