"""Tables and models."""


rule sweep_tables:
    input:
        shards("sweeps"),
    output:
        directory(f"{RESULTS}/{{platform}}/sweep_tables"),
    log:
        f"{RESULTS}/logs/{{platform}}/sweep_tables.log",
    params:
        python=executable,
        command=table_command,
    message:
        "matching the sweeps of {wildcards.platform} with their graphs"
    shell:
        "{params.python} -m benchmark.{params.command} {input} --output {output} > {log} 2>&1"


rule unrolling:
    input:
        f"{RESULTS}/{{platform}}/sweep_tables",
    output:
        f"{RESULTS}/{{platform}}/unrolling.json",
    log:
        f"{RESULTS}/logs/{{platform}}/unrolling.log",
    params:
        python=executable,
    message:
        "fitting s and alpha of {wildcards.platform} (equations 3 and 4)"
    shell:
        "{params.python} -m model_gen.fit_unrolling {input} --output {output} > {log} 2>&1"


rule round_tables:
    input:
        shards_before,
    output:
        directory(f"{RESULTS}/{{platform}}/round_tables/{{round}}"),
    log:
        f"{RESULTS}/logs/{{platform}}/round_tables{{round}}.log",
    params:
        python=executable,
    message:
        "matching what was measured of {wildcards.platform} before round {wildcards.round}"
    shell:
        "{params.python} -m benchmark.make_tables {input} --output {output} > {log} 2>&1"


rule tables:
    input:
        measured_shards,
    output:
        directory(f"{RESULTS}/{{platform}}/tables"),
    log:
        f"{RESULTS}/logs/{{platform}}/tables.log",
    params:
        python=executable,
        command=table_command,
    message:
        "matching all profiles of {wildcards.platform} with their graphs"
    shell:
        "{params.python} -m benchmark.{params.command} {input} --output {output} > {log} 2>&1"


rule platform_model:
    input:
        tables=f"{RESULTS}/{{platform}}/tables",
        unrolling=f"{RESULTS}/{{platform}}/unrolling.json",
        decisions=f"{RESULTS}/{{platform}}/fusion_decisions.json",
    output:
        model=f"{RESULTS}/{{platform}}/{{platform}}.strata",
        report=f"{RESULTS}/{{platform}}/fit.json",
    log:
        f"{RESULTS}/logs/{{platform}}/platform_model.log",
    benchmark:
        f"{RESULTS}/logs/{{platform}}/platform_model.tsv"
    threads: 2
    params:
        python=executable,
        run=RUN.name,
        seed=RUN.seed,
        fit=fit_options,
    message:
        "fitting and stacking the models of {wildcards.platform}"
    shell:
        "{params.python} -m model_gen.fit_platform {input.tables} --unrolling {input.unrolling}"
        " --platform {wildcards.platform} --run {params.run} --seed {params.seed}"
        " --decisions {input.decisions} {params.fit}"
        " --output {output.model} --report {output.report} > {log} 2>&1"
