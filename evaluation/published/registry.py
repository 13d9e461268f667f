"""All data sets of published measurements by name, and the files that ship with them."""

from pathlib import Path

from evaluation.published import dpu, edge_tpu, ncs2
from evaluation.published.data_set import DataSet

SHIPPED = Path(__file__).parent / "data"

DATA_SETS: dict[str, DataSet] = {
    data_set.name: data_set for data_set in (*dpu.DATA_SETS, *edge_tpu.DATA_SETS, *ncs2.DATA_SETS)
}
