"""A click log with a known truth: fields with power-law ids whose effects are of first, second and third order."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from simulation.parameters import TRUTH, Category, ClickLogParameters
from transforms.features import LABEL, ModelInput, Shape
from transforms.portable_math import exp, log, power, sigmoid, total
from transforms.portable_random import normal

Floats = NDArray[np.float32]
Columns = dict[str, np.ndarray]

BLOCK_ROWS = 1 << 15
"""Rows drawn at once, from one random stream: few enough to stay in the processor's cache."""
_REFERENCE_ROWS = 1 << 17
_TRUTH_STREAM, _ROW_STREAM = 0, 1


class ClickLogWorld:
    """A world of rows that are clicked or not, each independent of the others.

    Each id x of field f has a latent vector t_f[x] in R^K. With n_j the numbers and w_j = 1 or -1:

      z_1 = sum_f K^-1/2 sum_d t_f[x_f]_d + sum_j w_j n_j
      z_2 = sum over pairs (f, g) of sum_d t_f[x_f]_d t_g[x_g]_d
      z_3 = sum over triples (f, g, h) of sum_d t_f[x_f]_d t_g[x_g]_d t_h[x_h]_d
      logit = bias + first_order z_1 / sd(z_1) + second_order z_2 / sd(z_2) + third_order z_3 / sd(z_3)

    Latents are N(0, 1), independent whether an id is frequent or rare, and then centered by the ids'
    frequencies. So no order holds a part of a lower one, the orders are uncorrelated, and their
    standard deviations, computed from the frequencies, are exact. The bias gives the click rate.

    Args:
      parameters: of the world.
      seed: of the truth: latents and signs; 0 or more.

    Attributes:
      latents: by category, [K, ids + 1] with zeros for id 0.
      signs: [J], w_j.
      scales: [3], the strengths over the standard deviations of z_1, z_2, z_3.
      bias: of the logit.
    """

    def __init__(self, parameters: ClickLogParameters, seed: int):
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected 0 or more; choose another seed")
        self.parameters = parameters
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_TRUTH_STREAM,))))
        self.latents = {c.name: _latents(c, parameters.latent_dim, rng) for c in parameters.categories}
        self.signs = np.where(rng.random(len(parameters.numbers)) < 0.5, -1.0, 1.0).astype(np.float32)
        self.scales = self._scales()
        self.bias = 0.0
        self.bias = _bias(self._logit(self._inputs(_REFERENCE_ROWS, rng)), parameters.click_rate)

    @property
    def table_sizes(self) -> dict[str, int]:
        """V of each category's table: its ids and id 0."""
        return {category.name: category.ids + 1 for category in self.parameters.categories}

    @property
    def model_inputs(self) -> tuple[ModelInput, ...]:
        """What a model needs to know to take the arrays of `sample`: a vocabulary a category, then the numbers."""
        named: list[tuple[str, str | None]] = [(name, name) for name in self.table_sizes]
        named += [(name, None) for name in self.parameters.numbers]
        return tuple(
            ModelInput(name=name, vocabulary=vocabulary, shape=Shape.SCALAR, entity="context")
            for name, vocabulary in named
        )

    def sample(self, rows: int, seed: int) -> Columns:
        """Draws rows as arrays that a model can take as they are: the fastest way to data.

        A longer sample begins with the shorter one of the same seed. `transforms.splits.random_splits`
        splits the rows as `consort data simulate` does.

        Args:
          rows: 1 or more.
          seed: of the rows, 0 or more; may be that of the world.

        Returns:
          Each category as int32 [rows], 1 its most frequent id; each number as float32 [rows] with mean 0
          and variance 1; `label` and `true_click_probability` as float32 [rows]. The last is the truth
          and no model input.
        """
        arrays: Columns = {}
        for start, block in zip(range(0, rows, BLOCK_ROWS), self.blocks(rows, seed), strict=True):
            for name, values in block.items():
                if name not in arrays:
                    arrays[name] = np.empty(rows, values.dtype)
                arrays[name][start : start + len(values)] = values
        return arrays

    def blocks(self, rows: int, seed: int) -> Iterator[Columns]:
        """The rows of `sample` in blocks of `BLOCK_ROWS`; the last may be shorter."""
        if rows < 1 or seed < 0:
            raise ValueError(f"received rows {rows} and seed {seed}; expected rows 1 or more and seed 0 or more")
        for number, start in enumerate(range(0, rows, BLOCK_ROWS)):
            stream = np.random.SeedSequence(seed, spawn_key=(_ROW_STREAM, number))
            rng = np.random.Generator(np.random.PCG64(stream))
            columns = self._inputs(BLOCK_ROWS, rng)
            probability = self.click_probability(columns)
            columns[LABEL] = (rng.random(BLOCK_ROWS, dtype=np.float32) < probability).astype(np.float32)
            columns[TRUTH] = probability
            left = min(rows - start, BLOCK_ROWS)
            yield {name: values[:left] for name, values in columns.items()}

    def click_probability(self, columns: Mapping[str, np.ndarray]) -> Floats:
        """True probability of a click on rows with these categories and numbers, [rows]."""
        return sigmoid(self._logit(columns)).astype(np.float32)

    def _inputs(self, rows: int, rng: np.random.Generator) -> Columns:
        columns: Columns = {c.name: _draw_ids(c, rng.random(rows)) for c in self.parameters.categories}
        return columns | {name: normal(rng, rows) for name in self.parameters.numbers}

    def _logit(self, columns: Mapping[str, np.ndarray]) -> Floats:
        parameters, width = self.parameters, self.parameters.latent_dim
        rows = len(columns[parameters.categories[0].name])
        first, second, third = (np.zeros(rows, np.float32) for _ in range(3))
        for sign, name in zip(self.signs, parameters.numbers, strict=True):
            first += sign * columns[name]
        for d in range(width):
            read = {name: table[d].take(columns[name]) for name, table in self.latents.items()}
            for values in read.values():
                first += np.float32(1.0 / np.sqrt(width)) * values
            _add_products(second, read, parameters.pairs)
            _add_products(third, read, parameters.triples)
        logit = np.full(rows, self.bias, np.float32)
        for scale, order in zip(self.scales, (first, second, third), strict=True):
            logit += np.float32(scale) * order
        return logit

    def _scales(self) -> NDArray[np.float64]:
        """Strengths over exact standard deviations: the fields are independent, and latents are centered."""
        parameters, width = self.parameters, self.parameters.latent_dim
        frequencies = {c.name: id_frequencies(c) for c in parameters.categories}
        # S_f = E[t_f t_f'], [K, K]; the variance of a product of independent terms is the sum over d, d' of all S's.
        moments = {name: _second_moments(t[:, 1:], frequencies[name]) for name, t in self.latents.items()}
        variances = [
            sum(_product_sum(moments, [name]) for name in moments) / width + len(parameters.numbers),
            sum(_product_sum(moments, pair) for pair in parameters.pairs),
            sum(_product_sum(moments, triple) for triple in parameters.triples),
        ]
        strengths = (parameters.first_order, parameters.second_order, parameters.third_order)
        return np.array([s / np.sqrt(v) if s else 0.0 for s, v in zip(strengths, variances, strict=True)])


def id_frequencies(category: Category) -> NDArray[np.float64]:
    """Probability of each id of a field, [ids], id 1 first; see `Category.exponent`."""
    edges = np.arange(1, category.ids + 2, dtype=np.float64)
    slope = 1.0 - category.exponent
    integral = log(edges) if slope == 0 else power(edges, slope) / slope
    frequencies: NDArray[np.float64] = np.diff(integral) / (integral[-1] - integral[0])
    return frequencies


def _draw_ids(category: Category, uniform: NDArray[np.float64]) -> NDArray[np.int32]:
    """Ids 1 to `ids` by the inverse of their distribution function."""
    slope, last_edge = 1.0 - category.exponent, category.ids + 1.0
    if slope == 0:
        log_edge = uniform * log(last_edge)
    else:
        log_edge = log(uniform * (power(last_edge, slope) - 1.0) + 1.0) / slope
    # Rounding may reach the last edge, which belongs to no id, or fall below the first.
    return np.clip(exp(log_edge).astype(np.int32), np.int32(1), np.int32(category.ids))


def _latents(category: Category, width: int, rng: np.random.Generator) -> Floats:
    drawn = normal(rng, (width, category.ids)).astype(np.float64)
    drawn -= total(drawn * id_frequencies(category))[:, None]
    return np.pad(drawn, ((0, 0), (1, 0))).astype(np.float32)


def _second_moments(latents: Floats, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """E[t t'], [K, K], of vectors [K, ids]."""
    return np.array([total(row * frequencies * latents) for row in latents.astype(np.float64)])


def _product_sum(moments: Mapping[str, NDArray[np.float64]], names: Sequence[str]) -> float:
    product = np.ones(())
    for name in names:
        product = product * moments[name]
    return float(total(product.ravel()))


def _add_products(total: Floats, read: Mapping[str, Floats], groups: Sequence[Sequence[str]]) -> None:
    for first, *others in groups:
        product = read[first]
        for name in others:
            product = product * read[name]
        total += product


def _bias(logit: Floats, click_rate: float) -> float:
    """The bias that gives rows with these logits the click rate, by bisection."""
    low, high = -50.0, 50.0
    for _ in range(50):
        middle = (low + high) / 2
        reached = total(sigmoid(logit + np.float32(middle))) / len(logit) >= click_rate
        low, high = (low, middle) if reached else (middle, high)
    return (low + high) / 2
