"""Pictures, returned as matplotlib figures; nothing is shown or saved by side effect.

Every function takes `theme="light"` or `"dark"`. Colours are Okabe and Ito's, told apart by colour-blind readers
too, and no two lines differ by colour alone.
"""

from forecast_kit.evaluation.plots.calibration import plot_reliability
from forecast_kit.evaluation.plots.comparison import plot_critical_difference, plot_heatmap
from forecast_kit.evaluation.plots.errors import plot_error_by_step, plot_residuals
from forecast_kit.evaluation.plots.forecasts import plot_backtest, plot_forecast
from forecast_kit.evaluation.plots.schemes import plot_folds, plot_windows

__all__ = [
    "plot_forecast",
    "plot_folds",
    "plot_backtest",
    "plot_error_by_step",
    "plot_residuals",
    "plot_reliability",
    "plot_critical_difference",
    "plot_heatmap",
    "plot_windows",
]
