"""Pairs of layers of which the profiler leaves open whether they are fused, measured again."""


rule fusion_decisions:
    input:
        rules.tables.input,
        tables=f"{RESULTS}/{{platform}}/tables",
        platform=platform_description,
        like=liked_descriptions,
        code=measuring_code,
    output:
        f"{RESULTS}/{{platform}}/fusion_decisions.json",
    log:
        f"{RESULTS}/logs/{{platform}}/fusion_decisions.log",
    threads: measuring_threads
    resources:
        device=measuring_device,
    params:
        python=executable,
        shards=lambda wildcards, input: [
            path for path in input if "/shards/" in str(path)
        ],
        repeats=RUN.measurement.repeats,
        warmup=RUN.measurement.warmup,
        limit=RUN.measurement.time_limit_s,
    message:
        "which possibly fused pairs of {wildcards.platform} are fused (section 5.2)"
    shell:
        "{params.python} -m benchmark.fusion_tests {params.shards} --tables {input.tables}"
        " --platform-file {input.platform} --repeats {params.repeats}"
        " --warmup {params.warmup} --time-limit {params.limit} --output {output} 2>&1 | tee {log}"
