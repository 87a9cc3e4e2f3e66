"""Recurrent cells: pure steps, and the layers that hold their weights.

Sources are named with each. "Article 000" to "article 004" are five introductory articles of which the first cells were
taken, equation by equation; `docs/decisions.md` says what each of them has.
"""

from typing import Any

from forecast_kit.errors import ArgumentError, nearest
from forecast_kit.nn.cells.base import Cell
from forecast_kit.nn.cells.elman import ElmanCell
from forecast_kit.nn.cells.feedback import Feedback
from forecast_kit.nn.cells.gru import GRUCell, GRUResetBeforeCell, InputGatedGRUCell, OutputGatedGRUCell
from forecast_kit.nn.cells.lstm import LSTMCell, PeepholeLSTMCell
from forecast_kit.nn.cells.minimal import MGUCell, MinGRUCell, MinLSTMCell
from forecast_kit.nn.cells.normalized import LayerNormGRUCell, LayerNormLSTMCell, SLSTMCell
from forecast_kit.nn.cells.smoothing import HoltWintersCell
from forecast_kit.nn.cells.wrappers import RecurrentDropout, Residual, Stacked, Zoneout

CELLS: dict[str, type[Cell]] = {
    "rnn": ElmanCell,
    "lstm": LSTMCell,
    "peephole_lstm": PeepholeLSTMCell,
    "gru": GRUCell,
    "gru_reset_before": GRUResetBeforeCell,
    "output_gated_gru": OutputGatedGRUCell,
    "input_gated_gru": InputGatedGRUCell,
    "min_gru": MinGRUCell,
    "min_lstm": MinLSTMCell,
    "mgu": MGUCell,
    "layer_norm_lstm": LayerNormLSTMCell,
    "layer_norm_gru": LayerNormGRUCell,
    "slstm": SLSTMCell,
}
"""Cells by the names that configurations and `make_cell` know them by; one of your own may be added."""


def check_cell(name: str) -> None:
    """Raises an `ArgumentError` unless `make_cell` knows the name.

    >>> check_cell("lstmm")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    forecast_kit.errors.ArgumentError: cell must be one of rnn, lstm, ...; got 'lstmm'. Did you mean 'lstm'?
    """
    if name not in CELLS:
        raise ArgumentError(f"cell must be one of {', '.join(CELLS)}; got {name!r}.{nearest(str(name), list(CELLS))}")


def make_cell(name: str, units: int, **options: Any) -> Cell:
    """The cell of that name, with `units` units.

    Args:
        name: a key of `CELLS`.
        units: width of the output, U.
        options: what the class takes besides, see there.

    Raises:
        ArgumentError: there is no such cell, or an option is unknown or out of range.

    >>> make_cell("peephole_lstm", 8, diagonal=False).units
    8
    """
    check_cell(name)
    try:
        return CELLS[name](units, **options)
    except (TypeError, ValueError) as error:  # an argument that it does not have, or an initialiser that Keras has not
        raise ArgumentError(f"cell {name!r} cannot be built: {error}") from error


__all__ = [
    "Cell", "CELLS", "check_cell", "make_cell",
    "ElmanCell",
    "LSTMCell", "PeepholeLSTMCell",
    "GRUCell", "GRUResetBeforeCell", "OutputGatedGRUCell", "InputGatedGRUCell",
    "MinGRUCell", "MinLSTMCell", "MGUCell",
    "LayerNormLSTMCell", "LayerNormGRUCell", "SLSTMCell",
    "HoltWintersCell",
    "Residual", "RecurrentDropout", "Zoneout", "Stacked", "Feedback",
]  # fmt: skip
