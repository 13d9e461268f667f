from dataclasses import asdict

import numpy as np

from benchmark.black_box_fusion import pair_test
from evaluation.black_box import _pairs_text


def test_what_is_said_of_a_pair_is_what_its_test_found():
    # twelve chains whose second layers cost a tenth of what they take alone
    found = pair_test("convolution->add", np.array([[0.03, 0.3]] * 12))
    (line,) = _pairs_text([asdict(found)])
    assert line == "convolution->add: FUSED, costs 0.10 of its own time (0.10 to 0.10), 12 chains"
