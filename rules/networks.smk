"""The networks that estimates are judged by. No benchmark is made from them."""

ZOO_NETWORKS = [
    f"{RESULTS}/networks/table2/{name}.json" for name in RUN.evaluation.networks
]
NASBENCH = [
    f"{RESULTS}/networks/nasbench/nasbench_{RUN.evaluation.nasbench.seed}_{index}.json"
    for index in range(RUN.evaluation.nasbench.count)
]
KERAS_NETWORKS = [
    f"{RESULTS}/networks/keras/{name}.xml" for name in RUN.evaluation.keras
]
NETWORKS = {"table2": ZOO_NETWORKS, "nasbench": NASBENCH, "keras": KERAS_NETWORKS}


rule zoo_network:
    output:
        f"{RESULTS}/networks/table2/{{name}}.json",
    log:
        f"{RESULTS}/logs/networks/table2/{{name}}.log",
    params:
        python=executable,
    message:
        "network {wildcards.name} of ANNETTE's Table 2"
    shell:
        "{params.python} -m graph_gen.write_networks zoo {wildcards.name} {output} 2> {log}"


rule nasbench_networks:
    output:
        NASBENCH,
    log:
        f"{RESULTS}/logs/networks/nasbench.log",
    params:
        python=executable,
        number=RUN.evaluation.nasbench.count,
        seed=RUN.evaluation.nasbench.seed,
        folder=lambda wildcards, output: Path(output[0]).parent,
    message:
        "{params.number} networks of NASBench-101's cell space"
    shell:
        "{params.python} -m graph_gen.write_networks nasbench {params.folder}"
        " --count {params.number} --seed {params.seed} 2> {log}"


rule keras_network:
    output:
        xml=f"{RESULTS}/networks/keras/{{name}}.xml",
        bin=f"{RESULTS}/networks/keras/{{name}}.bin",
    log:
        f"{RESULTS}/logs/networks/keras/{{name}}.log",
    params:
        python=executable,
        folder=lambda wildcards, output: Path(output.xml).parent,
    message:
        "Keras application {wildcards.name}"
    shell:
        "{params.python} -m graph_gen.keras_networks {wildcards.name} --output {params.folder}"
        " > {log} 2>&1"
