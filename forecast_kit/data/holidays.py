"""The holidays of a place, from the package `holidays`, which is an extra and imported when they are asked for."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np

from forecast_kit.errors import ArgumentError, DataError, nearest


def _package() -> ModuleType:
    try:
        import holidays
    except ImportError as error:
        raise ArgumentError(
            "holiday features need the package holidays, which is not installed: pip install 'forecast_kit[holidays]'"
        ) from error
    return holidays


@lru_cache(maxsize=32)
def known_years(country: str, subdivision: str) -> tuple[int, int]:
    """The first and last year for which the holidays of a place are known."""
    package = _package()
    known = package.list_supported_countries(include_aliases=True)
    if country not in known:
        raise ArgumentError(f"the package holidays {package.__version__} does not know the country {country!r}; use "
                            f"an ISO 3166-1 code such as 'US'.{nearest(country, known)}")  # fmt: skip
    try:
        place = package.country_holidays(country, subdiv=subdivision or None)
    except NotImplementedError as error:
        raise ArgumentError(
            f"{country!r} has no subdivision {subdivision!r} in the package holidays {package.__version__}; it has "
            f"{', '.join(known[country]) or 'none'}"
        ) from error
    return place.start_year, place.end_year


@lru_cache(maxsize=128)
def holidays_of(country: str, subdivision: str, first: int, last: int) -> tuple[int, ...]:
    """Days since 1970-01-01 of the holidays of these years, and of the years around them where known."""
    start, end = known_years(country, subdivision)
    if first < start or last > end:
        raise DataError(
            f"the package holidays knows those of {'-'.join(filter(None, (country, subdivision)))} from {start} to "
            f"{end}, but there are stamps of {first if first < start else last}; leave the feature out or cut the data"
        )
    years = range(max(first - 1, start), min(last + 1, end) + 1)
    dates = list(_package().country_holidays(country, subdiv=subdivision or None, years=years))
    return tuple(np.array(dates, "datetime64[D]").astype(np.int64).tolist())
