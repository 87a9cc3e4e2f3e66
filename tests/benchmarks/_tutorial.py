"""The rival on bike sharing: the single-shot LSTM of TensorFlow's tutorial on time series forecasting.

Its recipe: windows of 24 hours in and 24 out, all columns standardised by the training part, the time of day and of
year as sine and cosine, `LSTM(32)`, a dense layer that begins at zero, mean squared error, Adam, at most 20 epochs
and an early stop after 2 without improvement. The weather of the coming day is unknown to it, as the recipe has it.
"""

from __future__ import annotations

import keras
import numpy as np
from _public import WEATHER, Bikes


def tutorial_lstm(data: Bikes, *, seed: int = 0) -> np.ndarray:
    """`[D, 24]` its forecasts of the test part's days."""
    keras.utils.set_random_seed(seed)
    frame = data.frame[["y", *WEATHER, "holiday", "workingday"]].copy()
    seconds = data.frame["ds"].astype("datetime64[s]").astype("int64").to_numpy()
    for name, length in (("day", 86_400), ("year", 365.2425 * 86_400)):
        frame[f"{name}_sin"] = np.sin(2 * np.pi * seconds / length)
        frame[f"{name}_cos"] = np.cos(2 * np.pi * seconds / length)
    values = frame.to_numpy(np.float32)
    first = int(data.days[0])
    cut = first - first // 8  # its shares are 70, 20 and 10 per cent; here the test part is given
    mean, deviation = values[:cut].mean(0), values[:cut].std(0)
    values = (values - mean) / deviation

    def windows(begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(begin, end - 47)
        return (np.stack([values[k : k + 24] for k in starts]), np.stack([values[k + 24 : k + 48, :1] for k in starts]))

    model = keras.Sequential([
        keras.layers.LSTM(32, return_sequences=False),
        keras.layers.Dense(24, kernel_initializer="zeros"),
        keras.layers.Reshape((24, 1)),
    ])  # fmt: skip
    model.compile(loss=keras.losses.MeanSquaredError(), optimizer=keras.optimizers.Adam())
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=2, mode="min")
    model.fit(
        *windows(0, cut), epochs=20, batch_size=32, validation_data=windows(cut, first), callbacks=[stop], verbose=0
    )
    before = np.stack([values[day - 24 : day] for day in data.days])
    return model.predict(before, verbose=0)[:, :, 0] * deviation[0] + mean[0]
