"""The papers' tables and figures beside ours."""


rule evaluate:
    input:
        networks=f"{RESULTS}/{{platform}}/networks.jsonl",
        model=f"{RESULTS}/{{platform}}/{{platform}}.strata",
        report=f"{RESULTS}/{{platform}}/fit.json",
    output:
        directory(f"{RESULTS}/{{platform}}/evaluation"),
    log:
        f"{RESULTS}/logs/{{platform}}/evaluate.log",
    params:
        python=executable,
    message:
        "estimating the measured networks of {wildcards.platform}"
    shell:
        "{params.python} -m evaluation.evaluate {input.networks} --platform {input.model}"
        " --fit-report {input.report} --output {output} > {log} 2>&1"


rule report:
    input:
        evaluation=f"{RESULTS}/{{platform}}/evaluation",
        tables=f"{RESULTS}/{{platform}}/tables",
        model=f"{RESULTS}/{{platform}}/{{platform}}.strata",
        unrolling=f"{RESULTS}/{{platform}}/unrolling.json",
        sweeps=f"{RESULTS}/{{platform}}/sweep_tables",
    output:
        f"{RESULTS}/{{platform}}/report/index.html",
    log:
        f"{RESULTS}/logs/{{platform}}/report.log",
    params:
        python=executable,
        summary=f"{RESULTS}/evaluation/summary.csv",
    message:
        "report of {wildcards.platform}"
    shell:
        "{params.python} -m evaluation.write_report --evaluation {input.evaluation}"
        " --tables {input.tables} --platform {input.model} --summary {params.summary}"
        " --unrolling {input.unrolling} --sweeps {input.sweeps}"
        " --output {output} > {log} 2>&1"
