"""What becomes of each kind of request: every row of the table in `PyfuncForecaster`, through MLflow's own checks.

The trap is that MLflow enforces the signature before the model is asked: what it refuses, the model can say nothing to.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.pyfunc import scoring_server

import forecast_kit.mlflow as flavor
from forecast_kit import Naive, Panel, PanelSchema, SeasonalNaive
from forecast_kit.errors import ArgumentError, DataError, SchemaError, TimeIndexError
from forecast_kit.mlflow.flavor import load_served
from forecast_kit.mlflow.served import PyfuncForecaster, ServedModel, normalized

STEPS = np.arange(30)
DAYS = pd.Timestamp("2024-02-01") + pd.to_timedelta(STEPS, unit="D")
FRAME = pd.concat(
    [pd.DataFrame({"unique_id": f"s{k}", "ds": DAYS, "y": STEPS + 0.5}) for k in range(2)], ignore_index=True
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("requests") / "model"
    fitted = SeasonalNaive(horizon=5).fit(Panel.from_frame(FRAME, freq="D"))
    flavor.save_model(fitted, path, horizon=3, levels=(0.2,), history=True)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> mlflow.pyfunc.PyFuncModel:
    return mlflow.pyfunc.load_model(str(folder))


def check(answer: pd.DataFrame, days: int = 3) -> None:
    """Each day is forecast by the one a week before."""
    assert answer.columns.tolist()[:5] == ["unique_id", "ds", "cutoff", "model", "mean"]
    for _, series in answer.groupby("unique_id"):
        np.testing.assert_array_equal(series["mean"], (STEPS[-7:] + 0.5)[:days])


TAKEN: dict[str, Callable[[pd.DataFrame], Any]] = {
    "as trained": lambda f: f,
    "stamps in seconds": lambda f: f.astype({"ds": "datetime64[s]"}),
    "stamps in nanoseconds": lambda f: f.astype({"ds": "datetime64[ns]"}),
    "datetime objects": lambda f: f.assign(ds=f["ds"].astype(object)),
    "date objects": lambda f: f.assign(ds=f["ds"].dt.date),
    "ids as objects": lambda f: f.assign(unique_id=f["unique_id"].astype(object)),
    "arrow columns, as Ray and Spark have them": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "small integers": lambda f: f.assign(y=f["y"].sub(0.5).astype("int32") + np.float32(0.5)),
    "float32": lambda f: f.astype({"y": "float32"}),
    "nullable floats": lambda f: f.astype({"y": "Float64"}),
    "numbers as objects": lambda f: f.assign(y=f["y"].astype(object)),
    "a mapping of columns": lambda f: f.to_dict("list"),
    "a list of records": lambda f: f.to_dict("records"),
    "rows in any order": lambda f: f.sample(frac=1.0, random_state=1),
    "no rows": lambda f: f.iloc[:0],
    "no rows, and columns of no kind": lambda f: pd.DataFrame(columns=["unique_id", "ds", "y"]),
}


@pytest.mark.parametrize("sent", TAKEN)
def test_what_is_certain_is_taken(model: mlflow.pyfunc.PyFuncModel, sent: str) -> None:
    check(model.predict(TAKEN[sent](FRAME)))


REFUSED: dict[str, tuple[Callable[[pd.DataFrame], Any], type[Exception], str]] = {
    "dates as text": (
        lambda f: f.assign(ds=f["ds"].astype(str)), mlflow.MlflowException,
        r"column ds\. Can not safely convert str to datetime64\[ns\]",
    ),
    "dates with a zone": (
        lambda f: f.assign(ds=f["ds"].dt.tz_localize("UTC")), mlflow.MlflowException,
        "datetime column only contains timezone-naive",
    ),
    "numbers for ids": (
        lambda f: f.assign(unique_id=f["unique_id"].str[1:].astype(int)), mlflow.MlflowException,
        "column unique_id. Can not safely convert int64 to <U0",
    ),
    "numbers for ids, as objects": (
        lambda f: f.assign(unique_id=f["unique_id"].str[1:].astype(int).astype(object)), SchemaError,
        r"'unique_id' holds whole numbers, but .* named by text; send text, as \.astype\(str\)",
    ),
    "categorical ids": (
        lambda f: f.astype({"unique_id": "category"}), mlflow.MlflowException,
        "column unique_id. Can not safely convert category to <U0",
    ),
    "whole numbers of 64 bits": (
        lambda f: f.assign(y=f["y"].astype("int64")), mlflow.MlflowException,
        "column y. Can not safely convert int64 to float64",
    ),
    "text for numbers": (
        lambda f: f.assign(y=f["y"].astype(str)), mlflow.MlflowException, "column y. Can not safely convert str to",
    ),
    "a column missing": (lambda f: f.drop(columns="y"), mlflow.MlflowException, r"missing inputs \['y'\]"),
    "a column misspelt": (
        lambda f: f.rename(columns={"ds": "date"}), mlflow.MlflowException,
        r"missing inputs \['ds'\]. Note that there were extra inputs: \['date'\]",
    ),
    "stamps in the index": (lambda f: f.set_index("ds"), mlflow.MlflowException, r"missing inputs \['ds'\]"),
    "nothing": (lambda f: None, mlflow.MlflowException, "Expected input to be DataFrame. Found: NoneType"),
    "no columns": (lambda f: pd.DataFrame(), mlflow.MlflowException, "missing inputs"),
    "a hole": (lambda f: f.drop(index=[4]), DataError, "s0 at 2024-02-05"),
}  # fmt: skip


@pytest.mark.parametrize("sent", REFUSED)
def test_what_is_not_certain_is_refused_with_what_to_send(model: mlflow.pyfunc.PyFuncModel, sent: str) -> None:
    change, kind, message = REFUSED[sent]
    with pytest.raises(kind, match=message):
        model.predict(change(FRAME))


@pytest.mark.parametrize(
    ("params", "days", "levels"),
    [
        (None, 3, ["q20"]), ({}, 3, ["q20"]), ({"horizon": 5}, 5, ["q20"]), ({"horizon": np.int64(1)}, 1, ["q20"]),
        ({"horizon": None}, 3, ["q20"]), ({"levels": []}, 3, []), ({"levels": np.array([0.975])}, 3, ["q97_5"]),
    ],
)  # fmt: skip
def test_parameters_that_are_taken(
    model: mlflow.pyfunc.PyFuncModel, params: dict[str, Any] | None, days: int, levels: list[str]
) -> None:
    answer = model.predict(FRAME, params=params)
    check(answer, days)
    assert answer.columns.tolist()[5:] == levels


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"horizon": "3"}, "'horizon'.*Can not safely convert.*str.*long"),
        ({"horizon": 3.0}, "'horizon'.*Can not safely convert.*float.*long"),
        ({"horizon": True}, "'horizon'.*Can not safely convert.*bool.*long"),
        ({"horizon": 0}, "horizon must be a whole number, at least 1; got 0"),
        ({"levels": 0.5}, "must be a 1D array"),
        ({"levels": (0.5,)}, "must be a 1D array"),
        ({"levels": None}, "must be a 1D array"),
        ({"levels": ["0.5"]}, "'levels'.*Can not safely convert.*str.*double"),
        ({"levels": [1]}, "strictly between 0 and 1"),
    ],
)
def test_parameters_that_are_refused(model: mlflow.pyfunc.PyFuncModel, params: dict[str, Any], message: str) -> None:
    with pytest.raises((mlflow.MlflowException, ArgumentError), match=message):
        model.predict(FRAME, params=params)


def test_other_columns_and_misspelt_parameters_are_left_out_with_a_warning(
    model: mlflow.pyfunc.PyFuncModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("mlflow"), "propagate", True)
    check(model.predict(FRAME.assign(weather=1.0), params={"horizn": 5}))
    assert "extra inputs" in caplog.text
    assert "weather" in caplog.text
    assert "Unrecognized params ['horizn']" in caplog.text
    assert "'horizon'" in caplog.text


# ---- JSON


def ask(model: mlflow.pyfunc.PyFuncModel, frame: pd.DataFrame, **body: Any) -> pd.DataFrame:
    data = {"dataframe_split": json.loads(frame.to_json(orient="split", date_format="iso")), **body}
    schema = model.metadata.get_input_schema()
    response = scoring_server.invocations(json.dumps(data), "application/json", model, schema)
    return pd.DataFrame(json.loads(response.response)["predictions"])


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f, lambda f: f.assign(ds=f["ds"].astype(str)), lambda f: f.assign(ds=f["ds"].dt.strftime("%Y-%m-%d")),
        lambda f: f.drop(columns="y").assign(y=f["y"].astype("float32")), lambda f: f.iloc[:0],
    ],
    ids=["stamps", "dates as text", "days as text", "other order of columns", "no rows"],
)  # fmt: skip
def test_json_has_dates_as_text_and_is_taken(model: mlflow.pyfunc.PyFuncModel, change: Any) -> None:
    check(ask(model, change(FRAME), params={"horizon": 3, "levels": [0.1]}))


def test_json_of_whole_numbers_is_taken_for_targets_and_refused_for_names(model: mlflow.pyfunc.PyFuncModel) -> None:
    answer = ask(model, FRAME.assign(y=FRAME["y"].astype(int)))
    assert answer["mean"].iloc[0] == 23.0
    with pytest.raises(mlflow.MlflowException) as refused:  # the server hides our words in the trace that it returns
        ask(model, FRAME.assign(unique_id=FRAME["unique_id"].str[1:].astype(int)))
    assert "named by text; send text, as .astype(str)" in refused.value.serialize_as_json()
    with pytest.raises(mlflow.MlflowException, match="timezone-naive"):
        ask(model, FRAME.assign(ds=FRAME["ds"].astype(str) + "T00:00:00+00:00"))


# ---- integer time and ids


def test_numbers_are_numbers_all_the_way(tmp_path: Path) -> None:
    frame = pd.DataFrame({"unique_id": np.repeat([7, 8], 5), "ds": np.tile(np.arange(5), 2), "y": np.arange(10.0)})
    flavor.save_model(Naive(horizon=2).fit(Panel.from_frame(frame, freq=1)), tmp_path / "m")
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert model.predict(frame)[["unique_id", "ds", "mean"]].to_numpy().tolist() == [
        [7, 5, 4], [7, 6, 4], [8, 5, 9], [8, 6, 9],
    ]  # fmt: skip
    assert ask(model, frame)["unique_id"].tolist() == [7, 7, 8, 8]
    with pytest.raises(mlflow.MlflowException, match="column unique_id. Can not safely convert str to int64"):
        model.predict(frame.assign(unique_id=frame["unique_id"].astype(str)))
    served = load_served(str(tmp_path / "m"))
    with pytest.raises(SchemaError, match=r"named by whole numbers; send those, as \.astype\('int64'\)"):
        served.forecast(frame.assign(unique_id=frame["unique_id"].astype(str)))
    assert len(served.forecast(frame.astype({"unique_id": object, "ds": "int32"})).ids) == 2


# ---- without MLflow's checks


@pytest.fixture(scope="module")
def served(folder: Path) -> ServedModel:
    return load_served(str(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(ds=f["ds"].astype(str)),
        lambda f: f.assign(ds=f["ds"].astype(str).astype(object)),
        lambda f: f.assign(ds=f["ds"].dt.tz_localize("Europe/Berlin")),
        lambda f: f.assign(ds=f["ds"].dt.date, y=[Decimal(str(y)) for y in f["y"]]),
        lambda f: f.astype({"unique_id": "category", "y": object}),
        lambda f: f.assign(ds=f["ds"].dt.tz_localize(dt.UTC).astype(object)),
        lambda f: pl.from_pandas(f),
    ],
    ids=["text", "text as objects", "a zone", "Spark's dates and decimals", "categories", "zone as objects", "polars"],
)
def test_the_forecaster_itself_takes_more_than_mlflow_lets_through(served: ServedModel, change: Any) -> None:
    check(served.forecast(change(FRAME)).to_frame())


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            lambda f: f.set_index("ds"),
            SchemaError,
            r"'ds' is missing, and the index holds stamps; send frame.reset_index",
        ),
        (lambda f: f.rename(columns={"ds": "dss"}), SchemaError, "column 'ds' is missing.*Did you mean 'dss'"),
        (lambda f: f.assign(ds="soon"), TimeIndexError, "'ds' of what was sent holds 60 values that are no ISO 8601"),
        (lambda f: f.assign(ds=range(60)), SchemaError, "needs time stamps, but column 'ds' is int64"),
        (lambda f: f.assign(ds=pd.Series(range(60), dtype=object)), SchemaError, "needs time stamps"),
        (lambda f: f.assign(y="many"), SchemaError, "column 'y' must be numeric.*many"),
        (lambda f: f.assign(unique_id=f["unique_id"].str[1:].astype(int)), SchemaError, "named by text"),
        (lambda f: "frame", SchemaError, "expected a frame in long form"),
    ],
)
def test_what_the_forecaster_itself_refuses(served: ServedModel, change: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        served.forecast(change(FRAME))


def test_an_unknown_parameter_is_named_where_mlflow_does_not_leave_it_out(served: ServedModel) -> None:
    with pytest.raises(ArgumentError, match="unknown parameter 'horizn'; the model takes horizon, levels.*'horizon'"):
        PyfuncForecaster(served).predict(FRAME, {"horizn": 3})


def test_numbered_categories_that_gaps_made_fractional_are_whole_again() -> None:
    schema = PanelSchema(freq=1, past=("shelf", "size"), categorical=("shelf",))
    sent = pd.DataFrame({"unique_id": "a", "ds": range(3), "shelf": [1.0, 2.0, np.nan], "size": [1.0, 2.0, np.nan]})
    got = normalized(sent, schema, integer_ids=False, categories={"shelf": 1})
    assert (str(got["shelf"].dtype), str(got["size"].dtype)) == ("Int64", "float64")
    odd = normalized(sent.assign(shelf=0.5), schema, integer_ids=False, categories={"shelf": 1})
    assert str(odd["shelf"].dtype) == "float64"  # for the panel to refuse
