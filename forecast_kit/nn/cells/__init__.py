"""Recurrent cells: pure steps, and the layers that hold their weights."""

from forecast_kit.nn.cells.base import Cell
from forecast_kit.nn.cells.elman import ElmanCell
from forecast_kit.nn.cells.gru import GRUCell, GRUResetBeforeCell, InputGatedGRUCell, OutputGatedGRUCell
from forecast_kit.nn.cells.lstm import LSTMCell, PeepholeLSTMCell
from forecast_kit.nn.cells.minimal import MGUCell, MinGRUCell, MinLSTMCell
from forecast_kit.nn.cells.normalized import LayerNormGRUCell, LayerNormLSTMCell, SLSTMCell
from forecast_kit.nn.cells.smoothing import HoltWintersCell
from forecast_kit.nn.cells.wrappers import RecurrentDropout, Residual, Stacked, Zoneout

__all__ = [
    "Cell",
    "ElmanCell",
    "LSTMCell", "PeepholeLSTMCell",
    "GRUCell", "GRUResetBeforeCell", "OutputGatedGRUCell", "InputGatedGRUCell",
    "MinGRUCell", "MinLSTMCell", "MGUCell",
    "LayerNormLSTMCell", "LayerNormGRUCell", "SLSTMCell",
    "HoltWintersCell",
    "Residual", "RecurrentDropout", "Zoneout", "Stacked",
]  # fmt: skip
