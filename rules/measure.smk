"""Planning and measuring. Only one job at a time may time a device, and nothing runs beside it."""


rule plan_sweeps:
    input:
        config=CONFIG_FILE,
        platform=platform_description,
        like=liked_descriptions,
    output:
        f"{RESULTS}/{{platform}}/plan/sweeps.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/plan_sweeps.log",
    params:
        python=executable,
    message:
        "which sweeps to measure on {wildcards.platform}"
    shell:
        "{params.python} -m benchmark.make_plan --config {input.config} --phase sweeps"
        " --platform {wildcards.platform} --output {output} 2> {log}"


rule plan_samples:
    input:
        config=CONFIG_FILE,
        platform=platform_description,
        like=liked_descriptions,
        unrolling=f"{RESULTS}/{{platform}}/unrolling.json",
    output:
        f"{RESULTS}/{{platform}}/plan/samples.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/plan_samples.log",
    params:
        python=executable,
    message:
        "which points to measure on {wildcards.platform}, knowing its unrolling"
    shell:
        "{params.python} -m benchmark.make_plan --config {input.config} --phase samples"
        " --platform {wildcards.platform} --unrolling {input.unrolling}"
        " --output {output} 2> {log}"


rule plan_mapping:
    input:
        config=CONFIG_FILE,
        platform=platform_description,
        like=liked_descriptions,
    output:
        f"{RESULTS}/{{platform}}/plan/mapping.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/plan_mapping.log",
    params:
        python=executable,
    message:
        "which networks to compile for {wildcards.platform}, for what is fused in them"
    shell:
        "{params.python} -m benchmark.make_plan --config {input.config} --phase mapping"
        " --platform {wildcards.platform} --output {output} 2> {log}"


rule plan_round:
    input:
        config=CONFIG_FILE,
        platform=platform_description,
        like=liked_descriptions,
        plans=plans_before,
        tables=f"{RESULTS}/{{platform}}/round_tables/{{round}}",
        unrolling=f"{RESULTS}/{{platform}}/unrolling.json",
    output:
        f"{RESULTS}/{{platform}}/plan/round{{round}}.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/plan_round{{round}}.log",
    params:
        python=executable,
    message:
        "which points to add on {wildcards.platform}: round {wildcards.round}"
    shell:
        "{params.python} -m benchmark.plan_round {input.plans} --config {input.config}"
        " --platform {wildcards.platform} --round {wildcards.round} --tables {input.tables}"
        " --unrolling {input.unrolling} --output {output} 2> {log}"


rule measure_chunk:
    input:
        plan=f"{RESULTS}/{{platform}}/plan/{{phase}}.jsonl",
        platform=platform_description,
        like=liked_descriptions,
        code=measuring_code,
    output:
        f"{RESULTS}/{{platform}}/shards/{{phase}}-{{chunk}}.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/measure-{{phase}}-{{chunk}}.log",
    benchmark:
        f"{RESULTS}/logs/{{platform}}/measure-{{phase}}-{{chunk}}.tsv"
    retries: 1
    threads: measuring_threads
    resources:
        device=measuring_device,
    params:
        python=executable,
        chunks=lambda wildcards: chunks_of(wildcards.phase),
        runs=lambda wildcards: runs_of(wildcards.phase),
        limit=RUN.measurement.time_limit_s,
    message:
        "measuring {wildcards.phase} on {wildcards.platform}: chunk {wildcards.chunk} of"
        " {params.chunks}"
    shell:
        "{params.python} -m benchmark.measure_chunk --plan {input.plan} --chunk {wildcards.chunk}"
        " --chunks {params.chunks} --platform-file {input.platform} {params.runs}"
        " --time-limit {params.limit} --output {output} 2>&1 | tee {log}"


rule measure_networks:
    input:
        networks=[path for paths in NETWORKS.values() for path in paths],
        platform=platform_description,
        like=liked_descriptions,
        code=measuring_code,
        after=ancient(shards_before_part),  # for the order alone
    output:
        f"{RESULTS}/{{platform}}/network_parts/{{part}}.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/measure_networks-{{part}}.log",
    benchmark:
        f"{RESULTS}/logs/{{platform}}/measure_networks-{{part}}.tsv"
    retries: 1
    priority: 1  # before further samples
    threads: measuring_threads
    resources:
        device=measuring_device,
    params:
        python=executable,
        pairs=[f"{group}={path}" for group, paths in NETWORKS.items() for path in paths],
        rounds=rounds_of_part,
    message:
        "measuring whole networks on {wildcards.platform}: part {wildcards.part},"
        " {params.rounds} rounds"
    shell:
        "{params.python} -m benchmark.measure_networks {params.pairs} --rounds {params.rounds}"
        " --platform-file {input.platform} --output {output} 2>&1 | tee {log}"


rule networks:
    input:
        network_parts,
    output:
        f"{RESULTS}/{{platform}}/networks.jsonl",
    log:
        f"{RESULTS}/logs/{{platform}}/networks.log",
    params:
        python=executable,
    message:
        "times of whole networks on {wildcards.platform}, over all parts"
    shell:
        "{params.python} -m benchmark.join_networks {input} --output {output} 2>&1 | tee {log}"
