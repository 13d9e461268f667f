"""Planning and measuring. Only one job at a time may use a device, and nothing runs beside it."""

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


rule plan_sweeps:
    input:
        config=CONFIG_FILE,
        platform=platform_description,
    output:
        f"{RESULTS}/{{platform}}/plan/sweeps.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/plan_sweeps.log",
    message:
        "which sweeps to measure on {wildcards.platform}"
    shell:
        "{executable} -m benchmark.make_plan --config {input.config} --phase sweeps"
        " --platform {wildcards.platform} --output {output} 2> {log}"


rule plan_samples:
    input:
        config=CONFIG_FILE,
        platform=platform_description,
        unrolling=f"{RESULTS}/{{platform}}/unrolling.json",
    output:
        f"{RESULTS}/{{platform}}/plan/samples.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/plan_samples.log",
    message:
        "which points to measure on {wildcards.platform}, knowing its unrolling"
    shell:
        "{executable} -m benchmark.make_plan --config {input.config} --phase samples"
        " --platform {wildcards.platform} --unrolling {input.unrolling}"
        " --output {output} 2> {log}"


rule measure_chunk:
    input:
        plan=f"{RESULTS}/{{platform}}/plan/{{phase}}.jsonl",
        platform=platform_description,
        code=MEASURING_CODE,
    output:
        f"{RESULTS}/{{platform}}/shards/{{phase}}-{{chunk}}.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/measure-{{phase}}-{{chunk}}.log",
    benchmark:
        f"{RESULTS}/logs/{{platform}}/measure-{{phase}}-{{chunk}}.tsv"
    retries: 1
    threads: workflow.cores
    resources:
        device=1,
    params:
        chunks=lambda wildcards: CHUNKS[wildcards.phase],
        repeats=RUN.measurement.repeats,
        warmup=RUN.measurement.warmup,
        limit=RUN.measurement.time_limit_s,
    message:
        "measuring {wildcards.phase} on {wildcards.platform}: chunk {wildcards.chunk} of"
        " {params.chunks}"
    shell:
        "{executable} -m benchmark.measure_chunk --plan {input.plan} --chunk {wildcards.chunk}"
        " --chunks {params.chunks} --platform-file {input.platform} --repeats {params.repeats}"
        " --warmup {params.warmup} --time-limit {params.limit} --output {output} 2> {log}"


rule measure_networks:
    input:
        networks=[path for paths in NETWORKS.values() for path in paths],
        platform=platform_description,
        code=MEASURING_CODE + ["benchmark/measure_networks.py"],
    output:
        f"{RESULTS}/{{platform}}/networks.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/measure_networks.log",
    benchmark:
        f"{RESULTS}/logs/{{platform}}/measure_networks.tsv"
    retries: 1
    threads: workflow.cores
    resources:
        device=1,
    params:
        pairs=[f"{group}={path}" for group, paths in NETWORKS.items() for path in paths],
        rounds=RUN.evaluation.rounds,
    message:
        "measuring whole networks on {wildcards.platform}, {params.rounds} rounds"
    shell:
        "{executable} -m benchmark.measure_networks {params.pairs} --rounds {params.rounds}"
        " --platform-file {input.platform} --output {output} 2> {log}"
