"""The form in which a metric of a table can be weighed thousands of times a second: functions of sums over rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Tally:
    """The metrics of one table of n rows, written so that a bootstrap only has to multiply by weights.

    `sums` [n, k] holds what each row adds; `finish` turns totals [draws, k] into {metric: [draws]}, NaN where a metric
    is undefined. `ranked` names metrics that depend on an order: {metric: (score [n], is_positive [n])}, read as
    AUROC.
    """

    sums: np.ndarray
    finish: Callable[[np.ndarray], dict[str, np.ndarray]]
    ranked: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def weighed(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each metric [draws] when row i counts weights[draw, i] times."""
        weights = np.asarray(weights, dtype=float)
        areas = {name: weighted_auroc(weights, *pair) for name, pair in self.ranked.items()}
        return self.finish(weights @ self.sums) | areas

    def values(self) -> dict[str, float]:
        """Each metric of the table as it is; an undefined one (no such rows) is left out."""
        once = self.weighed(np.ones((1, len(self.sums))))
        return {name: float(value[0]) for name, value in once.items() if not np.isnan(value[0])}


def ratio(above: np.ndarray, below: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """above / below, and `empty` where below is 0."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, empty, dtype=float), where=below != 0)


def weighted_auroc(weights: np.ndarray, score: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
    """Chance that a positive row scores above a negative one, ties half (Mann-Whitney), per row of weights [draws, n].

    Rows without a finite score do not take part; NaN where one class has no weight.
    """
    usable = np.isfinite(score)
    positive, negative = np.flatnonzero(usable & is_positive), np.flatnonzero(usable & ~is_positive)
    negative = negative[np.argsort(score[negative], kind="stable")]
    below = np.searchsorted(score[negative], score[positive], side="left")
    through = np.searchsorted(score[negative], score[positive], side="right")
    passed = np.zeros((len(weights), len(negative) + 1))
    np.cumsum(weights[:, negative], axis=1, out=passed[:, 1:])
    mine = weights[:, positive]
    won = (mine * (passed[:, below] + passed[:, through])).sum(axis=1) / 2
    return ratio(won, mine.sum(axis=1) * passed[:, -1])
