"""Names of learners, for whoever configures a fit: what fits them takes seconds to import."""

from typing import Literal

Learner = Literal[
    "best",
    "forest",
    "boosting",
    "boosting_absolute",
    "boosting_long",
    "boosting_coarse",
    "boosting_clipped",
    "boosting_monotone",
]
