"""A world of requests that pass a cascade, with what the log remembers of users and items."""

from dataclasses import dataclass

import numpy as np

from simulation.cascade import ABSENT, Outcome, draw_pools, past_clicks, rank, retrieve
from simulation.click_model import learned_from_clicks
from simulation.clicks import Requests, click_probability, item_age_hours, relevance
from simulation.parameters import World
from simulation.population import Floats, Ints, Tastes, create_arrivals, create_items, create_users
from transforms.portable_math import power


@dataclass(frozen=True)
class Histories:
    """Histories of B users: `items[offsets[b]:offsets[b + 1]]`, most recent last."""

    items: Ints
    offsets: Ints


class Memory:
    """Histories and counters at the current moment.

    Args:
      users, items: how many there are.
      history_length: clicks that a history keeps.
    """

    def __init__(self, users: int, items: int, history_length: int):
        self._length = history_length
        self._ring = np.zeros((users, history_length), np.int32)
        self._clicked = np.zeros(users, np.int64)
        self.impressions = np.zeros(items, np.int64)
        self.clicks = np.zeros(items, np.int64)

    def histories(self, users: Ints) -> Histories:
        """The last clicks of `users`, [B]."""
        clicked = self._clicked[users]
        lengths = np.minimum(clicked, self._length)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        slot = (np.repeat(clicked - lengths, lengths) + place) % self._length
        return Histories(self._ring[np.repeat(users, lengths), slot].astype(np.int64), offsets)

    def remember_clicks(self, users: Ints, items: Ints) -> None:
        """Adds clicks, which are in order of time, to the histories."""
        by_user = np.argsort(users, kind="stable")
        users, items = users[by_user], items[by_user]
        owners, first, counts = np.unique(users, return_index=True, return_counts=True)
        place = np.arange(len(users)) - np.repeat(first, counts)
        # The ring keeps the last clicks only; writing the others too would leave the winner of a slot open.
        kept = place >= np.repeat(counts, counts) - self._length
        users, items, place = users[kept], items[kept], place[kept]
        self._ring[users, (self._clicked[users] + place) % self._length] = items
        self._clicked[owners] += counts

    def count(self, shown: Ints, clicked: Ints) -> None:
        """Counts the items shown and the items clicked."""
        self.impressions += np.bincount(shown, minlength=len(self.impressions))
        self.clicks += np.bincount(clicked, minlength=len(self.clicks))


@dataclass(frozen=True)
class Block:
    """B requests in order of time, with M candidates each.

    Args:
      first: number of the block's first request.
      requests: who, when, on what.
      item: [B, M] item indices, `ABSENT` = padding.
      relevance: [B, M] logit of each item alone on top of the page; 0 in padding.
      outcome: what the cascade decided.
      probability: [B, M] true click probability (see `click_probability`); 0 in padding.
      label: [B, M] 1 = clicked; 0 where not shown.
      age_hours: [B, M].
      impressions, clicks: [B, M] the items' counts in all blocks before this one.
      histories: the users' clicks in all blocks before this one.
    """

    first: int
    requests: Requests
    item: Ints
    relevance: Floats
    outcome: Outcome
    probability: Floats
    label: Floats
    age_hours: Floats
    impressions: Ints
    clicks: Ints
    histories: Histories


class CascadeWorld:
    """A simulated world: the whole funnel with the truth.

    Each part of the world draws from a separate random stream, so that two worlds that differ in
    one strength have the same users, items and arrivals.

    Args:
      world: the parameters.
      requests: requests in the log.
      seed: of all random streams, 0 or more.

    Attributes:
      users, items, arrivals: who lives in the world, and all requests to come.
    """

    def __init__(self, world: World, requests: int, seed: int):
        streams = [np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence(seed).spawn(10)]
        user_rng, item_rng, arrival_rng, taste_rng, past_rng = streams[:5]
        self._pool_rng, self._retrieval_rng, self._rank_rng, self._click_rng, learning_rng = streams[5:]
        self.world, self._requests, self._next = world, requests, 0
        self.users, self.items = create_users(world, user_rng), create_items(world, item_rng)
        self._pool_weights = power(self.items.popularity, world.popularity_bias)
        self.arrivals = create_arrivals(world, self.users, requests, arrival_rng)
        self._tastes = Tastes(world, self.users, taste_rng)
        self._memory = Memory(world.users, world.items, world.history_length)
        for users, items in past_clicks(world, self.items, self._tastes.of(np.arange(world.users)), past_rng):
            self._memory.remember_clicks(users, items)
        tastes = self._tastes.of(np.arange(world.users))
        self._model = (
            learned_from_clicks(world, self.users, self.items, tastes, learning_rng)
            if world.logging_model == "clicks"
            else None
        )

    def answer(self, requests: int) -> Block:
        """Answers the next `requests` requests as one block, and remembers what came of them."""
        stop = min(self._next + requests, self._requests)
        if requests < 1 or stop == self._next:
            raise ValueError(
                f"asked for {requests} requests after {self._next} of {self._requests}; ask for 1 or more that are left"
            )
        block = self._simulate(self._next, stop)
        self._next = stop
        self._remember(block)
        return block

    def _simulate(self, start: int, stop: int) -> Block:
        world, users, items = self.world, self.users, self.items
        requests = self.arrived(start, stop)
        pool = self._pools(requests)
        model = self._model
        appeal = relevance(world, users, items, requests, pool) if model is None else model.logits(requests, pool)
        item, appeal = retrieve(world, items, pool, appeal, self._retrieval_rng)
        outcome = rank(world, items, item, appeal, self._rank_rng)
        real, shown = item != ABSENT, outcome.position > 0
        logit = appeal
        if model is not None:
            logit = np.where(real, relevance(world, users, items, requests, item), np.float32(0.0))
        probability = np.where(real, click_probability(world, items, logit, item, outcome.position), np.float32(0.0))
        draw = self._click_rng.random(item.shape, dtype=np.float32)
        return Block(
            first=start,
            requests=requests,
            item=item,
            relevance=logit,
            outcome=outcome,
            probability=probability,
            label=(shown & (draw < probability)).astype(np.float32),
            age_hours=item_age_hours(items, requests, item),
            impressions=self._memory.impressions[item],
            clicks=self._memory.clicks[item],
            histories=self._memory.histories(requests.user),
        )

    def arrived(self, start: int, stop: int) -> Requests:
        """Returns the requests of a block, which must follow the one before: tastes drift from block to block."""
        user, moment = self.arrivals.user[start:stop], self.arrivals.moment[start:stop]
        self._tastes.advance(float(moment[0]))
        return Requests(user, moment, self.arrivals.mobile[start:stop], self._tastes.of(user))

    def _pools(self, requests: Requests) -> Ints:
        alive = np.flatnonzero(self.items.birth <= requests.moment[0])
        return draw_pools(alive, self._pool_weights[alive], len(requests), self.world.pool_size, self._pool_rng)

    def _remember(self, block: Block) -> None:
        shown, clicked = block.outcome.position > 0, block.label == 1
        self._memory.count(block.item[shown], block.item[clicked])
        # On one page, the clicks count from the top down.
        rows, columns = np.nonzero(clicked)
        order = np.lexsort((block.outcome.position[rows, columns], rows))
        rows, columns = rows[order], columns[order]
        self._memory.remember_clicks(block.requests.user[rows], block.item[rows, columns])
