"""The click model: relevance, position on the page, and the other items shown."""

import numpy as np

from transforms.simulation.parameters import World
from transforms.simulation.population import Floats, Ints, Items
from transforms.simulation.portable_math import dot, log, sigmoid, total


def neighbour_effects(items: Items, item: Ints, neighbour: Ints) -> Floats:
    """[B, M, S] effect of `neighbour[b, s]` on `item[b, m]`: complement - max(0, cosine of tastes).

    1 for a complementary neighbour of unrelated taste, -1 for a neighbour of equal taste.
    """
    effects = np.empty((*item.shape, neighbour.shape[1]), np.float32)
    directions = np.ascontiguousarray(np.moveaxis(items.direction[item], -1, 0))
    for place, beside in enumerate(neighbour.T):
        cosine = dot(directions, items.direction[beside].T[:, :, None])
        complement = items.complements[items.category[item], items.category[beside][:, None]]
        effects[:, :, place] = complement.astype(np.float32) - np.maximum(cosine, np.float32(0.0))
    return effects


def click_probability(world: World, items: Items, relevance: Floats, item: Ints, position: Ints) -> Floats:
    """[B, M] true probability of a click on each candidate.

    sigmoid(relevance - position_effect ln(position) + set_effect mean over the neighbours of their effect)

    A shown item has its own position, and the other shown items as neighbours. An item that was not
    shown has the probability of the counterfactual page on which it takes the place of the item at
    the reference position, the middle one: that position, and the other shown items as neighbours. (A
    reference at either end of the page would make exposure itself foretell the probability.)

    Args:
      relevance: [B, M] logits of the items taken alone.
      item: [B, M] item indices.
      position: [B, M] 1 = top of the page, 0 = not shown.
    """
    shown = position > 0
    pages = shown.sum(axis=1)
    reference = (pages + 1) // 2
    place = np.where(shown, position, np.maximum(reference, 1)[:, None])
    logit = relevance - np.float32(world.position_effect) * log(place).astype(np.float32)
    if world.set_effect > 0.0:
        effect = _mean_over_neighbours(items, item, position, reference)
        logit = logit + np.float32(world.set_effect) * effect
    return sigmoid(logit).astype(np.float32)


def _mean_over_neighbours(items: Items, item: Ints, position: Ints, reference: Ints) -> Floats:
    size = int(position.max(initial=0))
    if size < 2:
        return np.zeros(item.shape, np.float32)
    slots = np.argsort(np.where(position > 0, position, np.iinfo(np.int64).max), axis=1, kind="stable")[:, :size]
    slot_position = np.take_along_axis(position, slots, axis=1)
    page = np.take_along_axis(item, slots, axis=1)
    place = np.where(position > 0, position, reference[:, None])
    is_neighbour = (slot_position > 0)[:, None, :] & (slot_position[:, None, :] != place[:, :, None])
    effects = neighbour_effects(items, item, page)
    summed = total(np.where(is_neighbour, effects, np.float32(0.0)))
    return summed / np.maximum(is_neighbour.sum(axis=2), 1).astype(np.float32)
