"""Array aliases, and the names under which a batch of windows holds its arrays.

Axes are named by one letter throughout: N series, R rows of a panel, B windows of a batch, T input
steps, H horizon, Q quantile levels, and P, K, S past, future and static covariates.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Batch: TypeAlias = dict[str, NDArray]

# What a network sees.
PAST_Y = "past_y"  # [B, T] the target before the cutoff; 0 where not observed
PAST_OBSERVED = "past_observed"  # [B, T] 1 where past_y is real, 0 where it is padding or a gap
PAST_X = "past_x"  # [B, T, P + K] past-only and known-future covariates before the cutoff
FUTURE_X = "future_x"  # [B, H, K] known-future covariates after the cutoff
STATIC_X = "static_x"  # [B, S] covariates that do not change
SERIES = "series"  # [B] the number of the series in training, from 1; 0 for one that was not there

# What it is trained against.
FUTURE_Y = "future_y"  # [B, H] the target after the cutoff
FUTURE_OBSERVED = "future_observed"  # [B, H] 1 where future_y is real
