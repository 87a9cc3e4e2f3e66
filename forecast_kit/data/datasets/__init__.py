"""Real data sets that come with the package, each with its schema, source and licence.

>>> frame, schema = load("air_passengers")
>>> len(frame), schema.freq, schema.season_length
(144, 'MS', 12)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, nearest


class Dataset(NamedTuple):
    """A long frame and what its columns mean.

    >>> air_passengers().schema.season_length
    12
    """

    frame: pd.DataFrame
    schema: PanelSchema


def m4_hourly() -> Dataset:
    """The hourly series of the M4 competition, all 414, with train and test parts joined.

    373,372 rows; 748 or 1,008 hours a series, numbered from 1. The competition's test part is the
    last 48 hours of each series; MASE takes a season of 24.

    Source: Makridakis, Spiliotis and Assimakopoulos, The M4 Competition, International Journal of
    Forecasting, 2020; files `Hourly-train.csv` and `Hourly-test.csv` of the M4 organisers. Licence:
    CC BY 4.0, as the Monash Time Series Forecasting Archive (Godahewa et al. 2021) distributes them.

    >>> frame, schema = m4_hourly()
    >>> frame["unique_id"].nunique(), len(frame), schema.season_length
    (414, 373372, 24)
    """
    return Dataset(_read("m4_hourly"), PanelSchema(freq=1, season_length=24))


def hospital() -> Dataset:
    """Monthly patient counts of 767 medical products, January 2000 to December 2006.

    64,428 rows. The Monash archive forecasts the last 12 months.

    Source: Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing, 2008, through
    the Monash Time Series Forecasting Archive. Licence: CC BY 4.0.

    >>> frame, schema = hospital()
    >>> frame["unique_id"].nunique(), len(frame), schema.freq
    (767, 64428, 'MS')
    """
    return Dataset(_read("hospital"), PanelSchema(freq="MS"))


def bike_sharing_hourly() -> Dataset:
    """Hourly bicycle rentals in Washington, D.C., 2011 and 2012, with weather and holidays.

    One series, 17,544 rows. Weather and calendar are taken as known ahead of time: in use they are
    the weather forecast. `weather` (clear, mist, rain) is text and not in the schema; `month`,
    `hour` and `weekday` are numbers.

    Source: Fanaee-T and Gama, Event labeling combining ensemble detectors and background knowledge,
    2014, UCI Machine Learning Repository 275, as cleaned by the skforecast authors. Licence: CC BY 4.0.

    >>> frame, schema = bike_sharing_hourly()
    >>> len(frame), schema.future[:2]
    (17544, ('temp', 'atemp'))
    """
    future = ("temp", "atemp", "hum", "windspeed", "holiday", "workingday")
    return Dataset(_read("bike_sharing_hourly"), PanelSchema(freq="h", future=future))


def stocks_daily() -> Dataset:
    """Daily prices of five shares, AAPL, FB, GOOG, IBM and MSFT, from March 2000 at the earliest to March 2013.

    12,154 rows on trading days; holidays are gaps, so the schema says `gaps="mask"`. The target is
    the adjusted closing price (`close` jumps at share splits).

    Source: Quandl WIKI prices, as the Bokeh project distributes them. Licence: public domain.

    >>> frame, schema = stocks_daily()
    >>> frame["unique_id"].unique().tolist(), schema.target_col, schema.gaps
    (['AAPL', 'FB', 'GOOG', 'IBM', 'MSFT'], 'adj_close', 'mask')
    """
    return Dataset(_read("stocks_daily"), PanelSchema(freq="B", target_col="adj_close", gaps="mask"))


def air_passengers() -> Dataset:
    """Monthly totals of international airline passengers in thousands, 1949 to 1960. One series, 144 rows.

    Source: Box and Jenkins, Time Series Analysis: Forecasting and Control, 1976, series G, as the
    Darts project distributes it under Apache-2.0. Licence: the numbers are in the public domain.

    >>> frame, schema = air_passengers()
    >>> frame["y"].iloc[[0, -1]].tolist()
    [112.0, 432.0]
    """
    return Dataset(_read("air_passengers"), PanelSchema(freq="MS"))


_SETS: dict[str, Callable[[], Dataset]] = {
    function.__name__: function for function in (m4_hourly, hospital, bike_sharing_hourly, stocks_daily, air_passengers)
}
names = tuple(_SETS)


def load(name: str) -> Dataset:
    """The bundled data set of that name, as `(frame, schema)`.

    Args:
        name: one of `forecast_kit.data.datasets.names`; the function of the same name tells more.

    Raises:
        ArgumentError: there is no such set.

    >>> frame, schema = load("hospital")
    >>> frame["unique_id"].nunique(), schema.freq
    (767, 'MS')
    """
    if name not in _SETS:
        raise ArgumentError(f"no bundled data set {name!r}; there are {', '.join(names)}.{nearest(name, names)}")
    return _SETS[name]()


def _read(name: str) -> pd.DataFrame:
    return pd.read_parquet(Path(__file__).with_name(f"{name}.parquet"))
