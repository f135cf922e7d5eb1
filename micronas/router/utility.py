"""Value of each expert in each category, shrunken by its estimated noise."""

import numpy as np

from micronas.arrays import Floats, Integers


def utilities(scores: Floats, category: Integers, categories: int) -> Floats:
    """Return the expected scores [categories, experts] on the prompts of each category.

    It applies empirical Bayes twice. A category's mean over all experts, the hardness of its
    prompts, is shrunk towards the mean of all prompts. An expert's advantage there (its score minus
    the mean of all experts on the same prompt, so that the hardness of prompts adds no noise) is
    shrunk towards its advantage over all prompts. A mean of n prompts keeps the share
    t / (t + v / n) of its difference: v is the variance within categories, and t that between
    them, by the method of moments. If categories do not separate experts, t is zero, and every
    category has the experts' overall advantages, as has a category without prompts.

    Scores are [prompts, experts]; `category` is an index [prompts] from 0 to `categories` - 1, out
    of fold: otherwise experts look better than on prompts that the router misclassifies.
    """
    hardness = scores.mean(axis=1, keepdims=True)
    level = _shrunken_means(hardness, category, categories)
    return level + _shrunken_means(scores - hardness, category, categories)


def _shrunken_means(values: Floats, category: Integers, categories: int) -> Floats:
    """Shrink category means towards overall means; all columns share one variance between."""
    counts = np.bincount(category, minlength=categories).astype(np.float64)[:, None]
    sums = np.zeros((categories, values.shape[1]))
    np.add.at(sums, category, values)
    overall = values.mean(axis=0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
    freedom = max(len(values) - int((counts > 0).sum()), 1)
    within = ((values - means[category]) ** 2).sum(axis=0) / freedom
    # E[sum n (mean - overall)^2] = within (k - 1) + between (n - sum n^2 / n), groups of unequal n
    spread = (counts * (means - overall) ** 2).sum(axis=0) - within * ((counts > 0).sum() - 1)
    size = len(values) - (counts**2).sum() / len(values)
    between = max(float(spread.mean()) / size, 0.0) if size > 0 else 0.0
    noise = within / np.maximum(counts, 1)
    kept = between / np.where(between + noise > 0, between + noise, 1.0)
    return np.asarray(overall + kept * (means - overall))
