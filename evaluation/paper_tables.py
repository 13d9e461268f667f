"""ANNETTE's tables 2 to 6 in the paper's form, ours first, the paper's own figures below.

Times are printed in ms and errors in percent, as the paper prints them; `summary.csv` holds the
same numbers in SI units.
"""

from functools import cache
from importlib import resources
from math import nan

import pandas as pd
import yaml

from evaluation.contributions import REMAINDER, UNKNOWN_TIME
from evaluation.frames import MAPPINGS, UNTIMED
from evaluation.metrics import Confusion, f1, mcc
from evaluation.scores import ALL_SETS, confusions, in_order, pivot
from evaluation.summary import SummaryRow
from evaluation.table_format import Table

KIND_TEXT = {
    "roofline": "Roofline",
    "refined": "Ref. roofline",
    "statistical": "Statistical",
    "mixed-annette": "Mixed (ANNETTE)",
    "mixed": "Mixed",
    "analytical": "Analytical",
}
SET_TEXT = {
    "table2": "Networks of table 2",
    "keras": "Keras applications",
    ALL_SETS: "Both sets",
    "nasbench": "NASBench-101 sample",
    "validation": "20% of the benchmarks",
    "networks": "Evaluation networks",
}
METRIC_TEXT = {
    "mae": "MAE (ms)",
    "rmspe": "RMSPE (%)",
    "mape": "MAPE (%)",
    "spearman": "Spearman's ρ",
}
# Columns that a table has only where one of them is not 0, with what a note says of them.
LACKING_TEXT = {"incomplete": "Incomplete", UNTIMED: "Untimed"}
LACKING_NOTE = {
    "Incomplete": "Incomplete are networks with layers whose time the estimate does not know: "
    "their totals lack these layers and are in the errors as they are.",
    "Untimed": "Untimed are layers whose time the estimate does not know: they are in no error.",
}
OURS = "Strata"


@cache
def _paper_file() -> dict:
    text = resources.files("evaluation").joinpath("paper_numbers.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def paper_numbers() -> pd.DataFrame:
    """ANNETTE's figures: table, subject, device, model, metric, value, unit, by."""
    return pd.DataFrame(_paper_file()["numbers"]).assign(
        by=lambda frame: frame["by"].fillna(_paper_file()["paper"])
    )


def _paper_notes(table: str) -> tuple[str, ...]:
    note = _paper_file()["notes"].get(table)
    return (f"ANNETTE: {note}",) if note else ()


def _paper_rows(table: str, metrics: tuple[str, ...]) -> list[dict]:
    """The paper's rows of a table in its order, one dict per (work, device, model)."""
    numbers = paper_numbers()
    rows: dict[tuple, dict] = {}
    for entry in numbers[numbers["table"] == table].to_dict("records"):
        key = (entry["by"], entry["device"], entry["model"])
        row = rows.setdefault(
            key,
            {
                "Work": entry["by"],
                "Device": entry["device"],
                "Model type": KIND_TEXT[entry["model"]],
            },
        )
        if entry["metric"] in metrics:
            row[METRIC_TEXT[entry["metric"]]] = entry["value"]
    return list(rows.values())


def _time_table(
    rows: list[SummaryRow],
    platform: str,
    subjects: list[tuple[str, str, str]],
    table: str,
    metrics: tuple[str, ...],
) -> pd.DataFrame:
    """Ours per (data set, mapping, subject of the scores) of `subjects`, then the paper's."""
    lines = []
    for data_set, mapping, subject in subjects:
        for kind, values in pivot(rows, data_set, subject).iterrows():
            line = {
                "Work": OURS,
                "Device": platform,
                "Networks": SET_TEXT.get(data_set, data_set),
                "Mapping": mapping,
                "Model type": KIND_TEXT[str(kind)],
            }
            line |= {METRIC_TEXT[name]: values.get(name, nan) for name in metrics}
            line |= {text: values.get(name, 0.0) for name, text in LACKING_TEXT.items()}
            lines.append(line | {"n": values["n"]})
    frame = pd.DataFrame(lines + _paper_rows(table, metrics))
    heads = ["Work", "Device", "Networks", "Mapping", "Model type"]
    columns = [*heads, *(METRIC_TEXT[name] for name in metrics), *_lacking(frame), "n"]
    return frame.reindex(columns=columns)


def _lacking(frame: pd.DataFrame) -> list[str]:
    """The columns of LACKING_TEXT in which something is counted."""
    texts = [text for text in LACKING_TEXT.values() if text in frame]
    return [text for text in texts if (frame[text] > 0).any()]


def _lacking_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    return tuple(LACKING_NOTE[text] for text in _lacking(frame))


def _subjects(
    rows: list[SummaryRow], stem: str, sets: tuple[str, ...]
) -> list[tuple[str, str, str]]:
    """(data set, mapping, subject) of the scores "<stem>/<mapping>", in reading order."""
    found = dict.fromkeys((row.data_set, row.subject) for row in rows)
    return [
        (data_set, mapping, f"{stem}/{mapping}")
        for mapping in MAPPINGS
        for data_set in sets
        if (data_set, f"{stem}/{mapping}") in found
    ]


def table2(networks: pd.DataFrame) -> Table:
    """Operations of the evaluation networks in Gop (two per MAC) beside the paper's."""
    numbers = paper_numbers()
    theirs = numbers[numbers["table"] == "table2"].set_index("subject")["value"]
    single = networks[networks["set"] == "table2"].drop_duplicates("network")
    ours = single.set_index("network")
    names = [*theirs.index, *(name for name in ours.index if name not in theirs.index)]
    frame = pd.DataFrame({"Network": names})
    frame["Operations (Gop)"] = (ours["ops"].astype(float) / 1e9).reindex(names).to_numpy()
    frame["ANNETTE (Gop)"] = theirs.reindex(names).to_numpy()
    frame["Ratio"] = frame["Operations (Gop)"] / frame["ANNETTE (Gop)"]
    frame["Measured (ms)"] = (1e3 * ours["measured_s"].astype(float)).reindex(names).to_numpy()
    frame["Spread (%)"] = (100 * ours["spread"].astype(float)).reindex(names).to_numpy()
    return Table(
        "table2",
        "Networks used to evaluate estimation accuracy (ANNETTE, table 2)",
        frame,
        ("Spread is the relative difference between the two halves of the measuring rounds.",),
    )


def table3(rows: list[SummaryRow], platform: str) -> Table:
    """Layer models on all convolution layers of the networks of table 2."""
    subjects = _subjects(rows, "layers/convolution", ("table2",))
    frame = _time_table(rows, platform, subjects, "table3", ("mae", "rmspe", "mape"))
    title = "Layer models on the convolution layers of table 2's networks (ANNETTE, table 3)"
    return Table("table3", title, frame, _paper_notes("table3") + _lacking_notes(frame))


def layers_by_operation(rows: list[SummaryRow], platform: str) -> Table:
    """MAPE of every kind per layer type and set, predicted mapping: what table 3 leaves out."""
    lines = []
    for data_set, subject in dict.fromkeys((row.data_set, row.subject) for row in rows):
        stem, _, rest = subject.partition("/")
        operation, _, mapping = rest.partition("/")
        if stem != "layers" or mapping != "predicted":
            continue
        scored = pivot(rows, data_set, subject)
        if not {"mape", UNTIMED} & {*scored.columns}:
            continue
        scored = scored.reindex(columns=[*dict.fromkeys((*scored.columns, "mape", UNTIMED))])
        line = {"Networks": SET_TEXT.get(data_set, data_set), "Layer type": operation}
        line |= {f"{KIND_TEXT[str(kind)]} (%)": scored["mape"][kind] for kind in scored.index}
        untimed = scored[UNTIMED].fillna(0).max()
        n = scored["n"].iloc[0] if scored["mape"].notna().any() else 0
        lines.append(line | {LACKING_TEXT[UNTIMED]: untimed, "n": n})
    frame = pd.DataFrame(lines)
    unshown = {LACKING_TEXT[UNTIMED]} & {*frame.columns} - {*_lacking(frame)}
    notes = (
        "Layers that the profiler timed at zero are left out and counted in summary.csv, which "
        "also has the oracle mapping, MAE and RMSPE.",
        *_lacking_notes(frame),
    )
    title = f"MAPE per layer type, predicted mapping, {platform}"
    return Table("layers_by_operation", title, frame.drop(columns=unshown), notes)


def table4(mapping: pd.DataFrame, platform: str) -> Table:
    """Mapping models: fusing a layer with the convolution before it, per layer type."""
    counts = confusions(mapping)
    lines = []
    for data_set in ("validation", "networks"):
        consumers = [
            consumer
            for place, producer, consumer in counts
            if (place, producer) == (data_set, "convolution")
            and counts[place, producer, consumer].samples
        ]
        lines += [
            _mapping_line(platform, data_set, name, counts[data_set, "convolution", name])
            for name in in_order(pd.Series(consumers, dtype=str), ("pooling", "add"))
        ]
    numbers = paper_numbers()
    numbers = numbers[numbers["table"] == "table4"]
    for (device, subject), group in numbers.groupby(["device", "subject"], sort=False):
        values = group.set_index("metric")["value"]
        lines.append(
            {
                "Work": "ANNETTE",
                "Device": device,
                "Data set": SET_TEXT["validation"],
                "Layer type": subject,
                "Total samples": values["samples"],
                "F1 score": values["f1"],
                "MCC": values["mcc"],
                "Remark": "",
            }
        )
    title = "Mapping models: fusing with a preceding convolution (ANNETTE, table 4)"
    notes = (
        "Positive means fused. Pooling sums max and average pooling. A score without value says "
        "why: a toolchain that always or never fuses a pair leaves nothing to tell apart.",
    )
    return Table("table4", title, pd.DataFrame(lines), notes)


def mapping_pairs(mapping: pd.DataFrame) -> Table:
    """F1 and MCC of every pair of operations, on the benchmark cases its tree did not see.

    But those that are never fused and never predicted so, of which either score is undefined.
    """
    lines = []
    for (data_set, producer, consumer), counts in confusions(mapping).items():
        told = counts.true_positive + counts.false_negative + counts.false_positive
        if data_set != "validation" or consumer == "pooling" or not told:
            continue
        scores = {"F1 score": f1(counts), "MCC": mcc(counts)}
        reasons = (reason for score in scores.values() for reason in score.reason.split("; "))
        fused = counts.true_positive + counts.false_negative
        lines.append(
            {
                "Layer": producer.replace("_", " "),
                "Fused with it": consumer.replace("_", " "),
                "Total samples": counts.samples,
                "Fused (%)": 100 * fused / counts.samples,
                **{name: score.value for name, score in scores.items()},
                "Remark": "; ".join(dict.fromkeys(filter(None, reasons))),
            }
        )
    title = f"Mapping models: every pair, {SET_TEXT['validation']} held out"
    notes = ("Pairs without a sample that is fused or predicted so are left out.",)
    return Table("mapping_pairs", title, pd.DataFrame(lines), notes)


def _mapping_line(platform: str, data_set: str, consumer: str, counts: Confusion) -> dict:
    scores = {"F1 score": f1(counts), "MCC": mcc(counts)}
    reasons = dict.fromkeys(
        reason for score in scores.values() for reason in score.reason.split("; ") if reason
    )
    return {
        "Work": OURS,
        "Device": platform,
        "Data set": SET_TEXT.get(data_set, data_set),
        "Layer type": consumer,
        "Total samples": counts.samples,
        **{name: score.value for name, score in scores.items()},
        "Remark": "; ".join(reasons),
    }


def table5(rows: list[SummaryRow], platform: str) -> Table:
    """Network execution time on table 2's networks and the Keras ones."""
    subjects = _subjects(rows, "networks", ("table2", "keras", ALL_SETS))
    frame = _time_table(rows, platform, subjects, "table5", ("mae", "mape"))
    title = "Network execution time (ANNETTE, table 5)"
    return Table("table5", title, frame, _paper_notes("table5") + _lacking_notes(frame))


def table6(rows: list[SummaryRow], platform: str) -> Table:
    """Fidelity and accuracy on the sample of NASBench-101."""
    subjects = _subjects(rows, "networks", ("nasbench",))
    frame = _time_table(rows, platform, subjects, "table6", ("spearman", "mae", "mape"))
    title = "Fidelity and accuracy on NASBench-101 networks (ANNETTE, table 6)"
    return Table("table6", title, frame, _paper_notes("table6") + _lacking_notes(frame))


def contribution_table(contributions: pd.DataFrame, kind: str, mapping: str) -> Table:
    """`evaluation.contributions.error_contributions` in percent of the networks' totals."""
    frame = pd.DataFrame(
        {
            "Source": contributions["source"],
            "Layers": contributions["layers"],
            "Share of time (%)": 100 * contributions["share_of_time"],
            "Signed error (%)": 100 * contributions["mean_contribution"],
            "Magnitude (%)": 100 * contributions["mean_magnitude"],
            "Worst network": contributions["worst_network"],
            "Worst (%)": 100 * contributions["worst_contribution"],
        }
    )
    notes: tuple[str, ...] = (
        "Each column is the mean over the networks of that part of the measured total. The signed "
        "errors add up to the mean signed error of the totals; negative means estimated too "
        f'short. "{REMAINDER}" is the time between and around the layers: the overhead per node.',
    )
    if contributions["source"].str.startswith(UNKNOWN_TIME).any():
        notes += (
            f'"{UNKNOWN_TIME}" are layers whose time the estimate does not know; all that was '
            "measured of them is missing in the total.",
        )
    title = f"What dominates the error: {KIND_TEXT[kind].lower()} model, {mapping} mapping"
    return Table(f"error_contributions_{kind}", title, frame, notes)
