"""How far the probabilities of a label task can be trusted, and how to take a constant bias out of them."""

import numpy as np
import pandas as pd

BINS = 15  # as in Guo et al. 2017


def calibrate(log_probs: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
    """Label log-probabilities [n, k] to batch-calibrated probabilities [n, k] (Zhou et al. 2023, arXiv 2309.17249).

    The mean log-probability of each label over the batch is what the prompt alone prefers; it is subtracted. Give
    `prior` [k] (`label_prior` of a batch) to calibrate a single sentence, whose own mean would leave nothing.
    """
    log_probs = np.atleast_2d(np.asarray(log_probs, dtype=float))
    shifted = log_probs - (label_prior(log_probs) if prior is None else np.asarray(prior, dtype=float))
    weights = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def label_prior(log_probs: np.ndarray) -> np.ndarray:
    """Mean log-probability [k] of each label over a batch [n, k]."""
    return np.asarray(log_probs, dtype=float).mean(axis=0)


def reliability(gold: np.ndarray, predicted: np.ndarray, p_positive: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """One row per bin of equal width that holds something: low, high, n, mean confidence, accuracy."""
    confidence, right, index = _binned(gold, predicted, p_positive, bins)
    frame = pd.DataFrame({"bin": index, "confidence": confidence, "accuracy": right})[np.isfinite(confidence)]
    table = frame.groupby("bin").agg(
        n=("accuracy", "size"), confidence=("confidence", "mean"), accuracy=("accuracy", "mean")
    )
    table.insert(0, "low", table.index / bins)
    table.insert(1, "high", (table.index + 1) / bins)
    return table.reset_index(drop=True)


def calibration_error(gold: np.ndarray, predicted: np.ndarray, p_positive: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over bins (Guo et al. 2017, arXiv 1706.04599).

    Confidence is the probability of the label that was predicted. NaN if no row has a probability.
    """
    gaps, n = calibration_gaps(gold, predicted, p_positive, bins)
    return float(np.abs(gaps.sum(axis=0)).sum() / n.sum()) if n.sum() else float("nan")


def calibration_gaps(gold, predicted, p_positive, bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """What each row adds to its bin's confidence minus accuracy [n, bins], and whether it takes part [n]."""
    confidence, right, index = _binned(gold, predicted, p_positive, bins)
    counts = np.isfinite(confidence)
    gaps = np.zeros((len(right), bins))
    gaps[counts, index[counts]] = (confidence - right)[counts]
    return gaps, counts.astype(float)


def _binned(gold, predicted, p_positive, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gold, predicted, p_positive = np.asarray(gold), np.asarray(predicted), np.asarray(p_positive, dtype=float)
    surer = np.maximum(p_positive, 1 - p_positive)
    confidence = np.select([predicted == 1, predicted == 0], [p_positive, 1 - p_positive], surer)
    index = np.clip(np.ceil(np.nan_to_num(confidence) * bins).astype(int) - 1, 0, bins - 1)
    return confidence, (gold == predicted).astype(float), index
