"""Networks in Keras: no pandas, no panels; arrays in, arrays out."""

from forecast_kit.nn.startup import load_backend

load_backend()
