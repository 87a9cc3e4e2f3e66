"""A forecaster to begin with: what served best on public panels, fitted to the season and size of a panel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast_kit.core.forecaster import Forecaster
from forecast_kit.data.panel import Panel
from forecast_kit.errors import check_whole
from forecast_kit.models.adjusted import Theta
from forecast_kit.models.ensemble import Ensemble
from forecast_kit.models.neural import LEVELS, NeuralForecaster

_LONGEST = 52  # steps of input where there is no season


def recommended(
    panel: Panel, horizon: int, *, levels: Sequence[float] = LEVELS, members: int = 4, seed: int = 0
) -> Forecaster:
    """A forecaster for panels like this one, not fitted: the median of recurrent networks of different kinds.

    A GRU that reads a season at a time, once on logarithms of the target and once on the target in units of each
    series' size; an encoder-decoder; where the horizon is shorter than two seasons a SegRNN, which starts from a
    window's last value and loses its way further out; and beside them, where there is a season, Theta. They err in
    different ways: on held-out parts of eight public panels their median was better than the GRU by 2.5 % in the
    mean, and by 1.6 % without Theta. A median lets no member spoil it, as Theta would the mean on hourly data.
    Targets that are somewhere negative are standardised in place of taking logarithms. The input is 2 to 7
    seasons as the series' length allows, and the loss is relative to each window's scale. How long to train differs
    most between panels: the last horizon of each series is held out to find the best number of steps, up to
    1,500, and then each network is trained again on everything for as many.

    The rules look at the season and at how long and how many the series are, never at how well anything
    forecasts. They were chosen on the training parts of public sets; `tests/benchmarks/bench_accuracy.py`
    measures what they are worth on the test parts.

    Args:
        panel: the training part.
        horizon: steps ahead, H.
        levels: quantile probabilities to learn.
        members: how many networks; of more than there are kinds, several of a kind, with seeds of their own. 1 for a
            GRU alone, and no Theta.
        seed: of the first; the others have the next ones.

    Raises:
        ArgumentError: members is not a whole number of at least 1, or another argument is out of range.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> model = recommended(panel, 12, members=1)
    >>> model.input_length, model.transform
    (36, ('log1p', 'standard'))
    >>> list(recommended(panel, 12).members)
    ['gru log1p', 'encoder_decoder log1p', 'gru mean_abs', 'segrnn mean_abs', 'theta']
    """
    check_whole("members", members)
    length = _input_length(panel, horizon)
    judged = panel.lengths >= 2 * horizon + panel.season_length  # what holding out a horizon takes
    known = {"validation": 1, "refit": True} if judged.mean() >= 0.5 else {}
    positive = bool((panel.y[panel.observed] >= 0).all())
    first = ("log1p", "standard") if positive else ("standard",)
    kinds = [("gru", first), ("encoder_decoder", first), ("gru", ("mean_abs",))]
    if panel.season_length > 1 and horizon < 2 * panel.season_length:
        kinds.append(("segrnn", ("mean_abs",)))
    models: dict[str, Forecaster] = {}
    for k in range(members):
        network, transform = kinds[k % len(kinds)]
        again = f" {k // len(kinds) + 1}" if k >= len(kinds) else ""
        models[f"{network} {transform[0]}{again}"] = NeuralForecaster(
            network, horizon=horizon, input_length=length, levels=levels, transform=transform,
            training={"relative_loss": True, "average": 0.99, "seed": seed + k, **known},
        )  # fmt: skip
    if members == 1:
        return models[f"gru {first[0]}"]
    if panel.season_length > 1:
        models["theta"] = Theta(horizon=horizon)
    return Ensemble(models, combine="median", horizon=horizon)


def _input_length(panel: Panel, horizon: int) -> int:
    """Seasons enough to see what repeats, and few enough that the series still hold many windows."""
    m, typical = panel.season_length, int(np.median(panel.lengths))
    if m == 1:
        return int(np.clip(typical // 3, min(2 * horizon, _LONGEST), _LONGEST))
    least = 3 if 3 * m + horizon <= typical else 2
    return m * int(np.clip(typical // (4 * m), least, 7))
