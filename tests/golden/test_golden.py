"""Whatever was saved once is read for ever: every format's folders forecast what they did when they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from contract.zoo import FORECASTERS, LEVELS, NEURAL

from forecast_kit import Forecaster
from forecast_kit.core.saving import FORMAT_VERSION

ROOT = Path(__file__).parent
FOLDERS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("format*/*") if path.is_dir())
_NEURAL = {name.replace(" ", "_") for name in NEURAL}


def test_every_forecaster_is_there_in_every_format() -> None:
    names = {name.replace(" ", "_") for name in FORECASTERS}
    assert {path.split("/")[0] for path in FOLDERS} == {f"format{k}" for k in range(1, FORMAT_VERSION + 1)}
    # A forecaster that came after a format was closed is missing in it, and nowhere else.
    assert {path.split("/")[1] for path in FOLDERS if path.startswith(f"format{FORMAT_VERSION}/")} == names


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_golden_folder_forecasts_what_it_did_when_it_was_written(folder: str) -> None:
    forecast = Forecaster.load(ROOT / folder).predict(levels=LEVELS).to_frame()
    expected = pd.read_csv(ROOT / f"{folder}.csv", parse_dates=["ds", "cutoff"])
    assert forecast.columns.tolist() == expected.columns.tolist()
    for column in ("unique_id", "ds", "cutoff", "model"):
        assert forecast[column].tolist() == expected[column].tolist()
    # Networks compute in float32, in an order that the device chooses.
    tolerance = 1e-4 if folder.split("/")[1] in _NEURAL else 1e-9
    for column in expected.columns[4:]:
        np.testing.assert_allclose(forecast[column], expected[column], rtol=tolerance, err_msg=column)
