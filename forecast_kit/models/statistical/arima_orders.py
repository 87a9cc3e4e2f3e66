"""What an ARIMA model consists of: its orders, its lag polynomials and their roots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast_kit.typing import Floats

LIMIT = 0.9999  # of partial autocorrelations: closer to 1 the equations of the autocovariances are singular


@dataclass(frozen=True)
class Order:
    """What enters an ARIMA model: lags p, P of the series, differences d, D, lags q, Q of the errors, and a constant.

    `phi(B) Phi(B^m) (w_t - x_t' b) = theta(B) Theta(B^m) a_t`, where `w` is the series after `d` plain and `D`
    seasonal differences, `x` a constant and covariates, differenced alike, and `a` independent errors.

    >>> str(Order(1, 1, 2, 0, 1, 1, 12)), str(Order(0, 1, 1, constant=True)), str(Order(1, 0, 0, constant=True))
    ('(1,1,2)(0,1,1)[12]', '(0,1,1) drift', '(1,0,0) mean')
    """

    p: int
    d: int
    q: int
    P: int = 0
    D: int = 0
    Q: int = 0
    m: int = 1
    constant: bool = False

    @property
    def lost(self) -> int:
        """Observations that differencing takes."""
        return self.d + self.D * self.m

    @property
    def width(self) -> int:
        """The longest lag."""
        return max(self.p + self.P * self.m, self.q + self.Q * self.m)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """How many coefficients each of the four polynomials has, in the order in which parameters are kept."""
        return self.p, self.P, self.q, self.Q

    @property
    def size(self) -> int:
        """How many coefficients the polynomials have."""
        return self.p + self.P + self.q + self.Q

    def __str__(self) -> str:
        season = f"({self.P},{self.D},{self.Q})[{self.m}]" if self.P + self.D + self.Q else ""
        level = {0: " mean", 1: " drift"}.get(self.d + self.D, "") if self.constant else ""
        return f"({self.p},{self.d},{self.q}){season}{level}"


def difference(values: Floats, order: Order) -> Floats:
    """`[T - d - D m, ...]` the values after seasonal and plain differences along the first axis."""
    for _ in range(order.D):
        values = values[order.m :] - values[: -order.m]
    return np.diff(values, n=order.d, axis=0)


def factors(params: Floats, order: Order) -> tuple[Floats, Floats, Floats, Floats]:
    """The coefficients of the four polynomials: phi, Phi, theta, Theta."""
    lags, moving = order.p + order.P, order.p + order.P + order.q
    return params[: order.p], params[order.p : lags], params[lags:moving], params[moving:]


def polynomial(coefficients: Floats, lag: int) -> Floats:
    """`1 + c_1 B^lag + c_2 B^(2 lag) + ...`.

    >>> polynomial(np.array([0.5, 0.2]), 2).tolist()
    [1.0, 0.0, 0.5, 0.0, 0.2]
    """
    out = np.zeros(len(coefficients) * lag + 1)
    out[0] = 1.0
    out[lag::lag] = coefficients
    return out


def products(params: Floats, order: Order) -> tuple[Floats, Floats]:
    """`phi(B) Phi(B^m) = 1 - phi_1 B - ...` and `theta(B) Theta(B^m) = 1 + theta_1 B + ...`, multiplied out.

    >>> ar, ma = products(np.array([0.5, 0.2]), Order(1, 0, 0, 1, 0, 0, 2))
    >>> ar.round(2).tolist(), ma.tolist()
    ([1.0, -0.5, -0.2, 0.1], [1.0])
    """
    phi, seasonal_phi, theta, seasonal_theta = factors(params, order)
    ar = np.convolve(polynomial(-phi, 1), polynomial(-seasonal_phi, order.m))
    return ar, np.convolve(polynomial(theta, 1), polynomial(seasonal_theta, order.m))


def differencing(order: Order) -> Floats:
    """`(1 - B)^d (1 - B^m)^D`, multiplied out."""
    out = np.ones(1)
    for lag in [1] * order.d + [order.m] * order.D:
        out = np.convolve(out, polynomial(np.array([-1.0]), lag))
    return out


def to_partial(params: Floats, order: Order) -> Floats:
    """The partial autocorrelations of each polynomial in place of its coefficients.

    All are below 1 in size if and only if all roots lie outside the unit circle. The recursion stops where one is not.

    Source: Monahan, A note on enforcing stationarity in ARMA models, Biometrika 71(2), 1984.
    """
    out = params.tolist()
    for first, last, sign in _ranges(order):
        for k in range(last - 1, first - 1, -1):
            r = out[k] = sign * out[k]
            if not abs(r) < 1.0:
                break
            c, scale = [sign * value for value in out[first:k]], 1.0 / (1.0 - r * r)
            out[first:k] = [sign * scale * (a + r * b) for a, b in zip(c, reversed(c), strict=True)]
    return np.array(out)


def from_partial(partial: Floats, order: Order) -> Floats:
    """The coefficients of the polynomials with these partial autocorrelations: the reverse of `to_partial`.

    `phi_(k,i) = phi_(k-1,i) - r_k phi_(k-1,k-i)`, `phi_(k,k) = r_k`, for k = 1, 2, ...

    >>> order = Order(2, 0, 1)
    >>> to_partial(from_partial(np.array([0.5, -0.3, 0.2]), order), order).round(12).tolist()
    [0.5, -0.3, 0.2]
    """
    out = partial.tolist()
    for first, last, sign in _ranges(order):
        for k in range(first, last):
            r, c = out[k], out[first:k]
            out[first:k] = [a - r * b for a, b in zip(c, reversed(c), strict=True)]
        out[first:last] = [sign * value for value in out[first:last]]
    return np.array(out)


def _ranges(order: Order) -> list[tuple[int, int, float]]:
    """Of each polynomial with coefficients, the places of the first and after the last, and -1 for those of errors."""
    out, end = [], 0
    for size, sign in zip(order.sizes, (1.0, 1.0, -1.0, -1.0), strict=True):
        if size:
            out.append((end, end + size, sign))
        end += size
    return out


def inside(params: Floats, order: Order) -> bool:
    """Whether all roots lie outside the unit circle."""
    return all(abs(value) < LIMIT for value in to_partial(params, order).tolist())


def nearest_root(params: Floats, order: Order) -> float:
    """The least modulus of the roots of all polynomials, at most 2; of seasonal ones in terms of B, not of `B^m`."""
    nearest = 2.0
    phi, seasonal_phi, theta, seasonal_theta = factors(params, order)
    for c, lag in ((-phi, 1), (-seasonal_phi, order.m), (theta, 1), (seasonal_theta, order.m)):
        if np.abs(c).max(initial=0.0) > 1e-8:
            inverse = float(np.abs(np.roots(np.append(1.0, c))).max())
            nearest = min(nearest, inverse ** (-1.0 / lag))
    return nearest
