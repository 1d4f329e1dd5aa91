"""One part of the towers from its first step to its last: seeds, schedule, deadline, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbatch import config
from recbatch.contracts import Events, Float32s, Int32s, Json
from recbatch.errors import DataError
from recbatch.model import Part, rating_scale
from recbatch.train.batches import Examples, Stream, trainable_users
from recbatch.train.candidates import Candidates
from recbatch.train.checkpoints import Arrays, Checkpoints
from recbatch.train.recipes import Recipe

_LAST_RATE = 0.05
"""The learning rate falls along a cosine to this share of where it began."""
_TRIAL_STEPS = 5
"""Steps that are timed, and undone, to see how many passes a budget allows."""
_RESERVE = 0.9
"""Share of a budget that is planned for."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a part is trained on."""

    events: Events
    """Items as vocabulary rows."""
    titles: int
    """Rows of the vocabulary; each has an event."""
    described: Float32s
    """Shape (titles, item tokens)."""
    profiles: Int32s
    """Shape (users, columns): tokens."""
    user_tokens: int


@dataclass(slots=True)
class Clock:
    """Where the time of training went, in seconds."""

    input: float = 0.0
    """Making batches."""
    steps: float = 0.0
    """Forward, backward and update."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Mean seconds of a training step's parts."""

    input: float
    """Making the batch."""
    forward: float
    """Scores and loss."""
    update: float
    """Gradients and new weights."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained part."""

    part: Part
    passes: int
    """Passes that were planned: what a refit repeats."""
    losses: tuple[float, ...]
    """Mean loss of each pass that was made: cross-entropy per answer, in nats, and that of a rating task on top."""
    clock: Clock


class Trainer:
    """A model in training. Making one loads TensorFlow."""

    def __init__(
        self, inputs: Inputs, recipe: Recipe, settings: config.Train, seed: int, *, start: Part | None = None
    ) -> None:
        """Makes a model with new weights, or with those of `start`, which has the same vocabulary and tokens."""
        from recbatch.model import two_tower

        self._kit, tf = two_tower, two_tower.tf
        tf.keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        self._inputs, self._recipe, self._settings = inputs, recipe, settings
        self._random = np.random.default_rng(seed)
        popularity = np.bincount(inputs.events.items, minlength=inputs.titles).astype(np.float32)
        self._unknown_bias = float(np.log(0.5 / popularity.mean()))
        bias = np.log(popularity / popularity.mean())
        self._rating_scale = rating_scale(inputs.events.ratings) if recipe.rating_weight else (0.0, 1.0)
        self.model = two_tower.TwoTower(
            bias, recipe.embedding_dim, inputs.described, inputs.user_tokens, recipe.rating_weight
        )
        if start is not None:
            two_tower.start_from(self.model, start)
        self._peak_rate = settings.learning_rate * (settings.warm_learning_rate if start is not None else 1)
        self._size = min(settings.batch_size, len(trainable_users(inputs.events)))
        self._stream = Stream(inputs.events, recipe, self._size, self._random)
        self._candidates = Candidates(popularity, self._random)
        self.steps_per_pass = steps_per_pass(settings, inputs.events)
        self.clock = Clock()
        self._step = two_tower.compiled(self.model.train_step)
        self._optimizer = tf.keras.optimizers.AdamW(self._peak_rate, weight_decay=recipe.weight_decay)
        self._optimizer.build(self.model.trainable_variables)
        self.model.compile(optimizer=self._optimizer)

    def affordable_passes(self, planned: int, seconds: float) -> int:
        """How many of the planned passes fit into a time, one at least; the timed steps are undone."""
        before = self._state(), dict(self._random.bit_generator.state)
        self._one_step(0.0)  # compiles
        began = time.monotonic()
        for _ in range(_TRIAL_STEPS):
            self._one_step(0.0)
        per_pass = (time.monotonic() - began) / _TRIAL_STEPS * self.steps_per_pass
        self._restore(before[0], before[1])
        self.clock = Clock()
        return max(1, min(planned, int(seconds * _RESERVE / per_pass)))

    def step_times(self, steps: int) -> StepTimes:
        """Where the time of a step goes, over some steps that are undone."""
        before = self._state(), dict(self._random.bit_generator.state)
        forward_only, forward = self._kit.compiled(self.model.compute_loss), 0.0
        for number in range(steps + 1):
            if number == 1:  # all is compiled
                self.clock, forward = Clock(), 0.0
            batch = self._batch()
            began = time.monotonic()
            float(forward_only(batch))
            forward += time.monotonic() - began
            self._one_step(0.0)
        clock, self.clock = self.clock, Clock()
        self._restore(before[0], before[1])
        return StepTimes(clock.input / (2 * steps), forward / steps, (clock.steps - forward) / steps)

    def run(
        self,
        passes: int,
        *,
        name: str,
        told: Callable[[int], None],
        until: float | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Trained:
        """Trains.

        Args:
            passes: over the users, as planned.
            name: of the checkpoint.
            told: called with the passes done.
            until: `time.monotonic()` at which training ends whatever the plan; the weights of the pass with the
                smallest loss are kept.
            checkpoints: where training goes on from, and is kept from time to time.

        Returns:
            The part.

        Raises:
            DataError: the loss is no number any more.
        """
        losses = self._resumed(name, passes, checkpoints)
        best: tuple[float, list[object]] | None = None
        for done in range(len(losses), passes):
            sums = [
                self._one_step(self._rate(done * self.steps_per_pass + at, passes)) for at in range(self.steps_per_pass)
            ]
            losses.append(float(np.mean(sums)) / self._size)
            _require_finite(losses[-1], name, done + 1)
            told(done + 1)
            if until is not None:
                best = min(
                    best or (losses[-1], self._weights()), (losses[-1], self._weights()), key=lambda pair: pair[0]
                )
                if time.monotonic() > until:
                    break
            if checkpoints and (checkpoints.due or done + 1 == passes):
                checkpoints.save(name, self._state(), self._facts(passes, losses))
        if best is not None and len(losses) < passes:
            for variable, value in zip(self.model.trainable_variables, best[1], strict=True):
                variable.assign(value)
        part = self._kit.export(self.model, self._recipe.reading, self._unknown_bias, self._rating_scale)
        return Trained(part, passes, tuple(losses), self.clock)

    def close(self) -> None:
        """Frees what TensorFlow holds."""
        self._kit.tf.keras.backend.clear_session()

    def _one_step(self, rate: float) -> float:
        batch = self._batch()
        began = time.monotonic()
        self._optimizer.learning_rate.assign(rate)
        loss = float(self._step(batch)["loss"])
        self.clock.steps += time.monotonic() - began
        return loss

    def _batch(self) -> dict[str, Any]:
        began = time.monotonic()
        examples = self._candidates.batch(self._stream.draw())
        users = examples.pop("users")
        if self._inputs.user_tokens:
            examples["profile"] = self._inputs.profiles[users]
            events = np.bincount(examples["history_rows"], minlength=len(users))
            examples["trust"] = (1 / (1 + events)).astype(np.float32)
        if self._recipe.rating_weight:
            examples |= _rated(examples, *self._rating_scale)
        batch: dict[str, Any] = self._kit.tensors(examples)
        self.clock.input += time.monotonic() - began
        return batch

    def _rate(self, step: int, passes: int) -> float:
        """Cosine decay (Loshchilov & Hutter 2017, "SGDR", equation 5, one cycle)."""
        done = step / (passes * self.steps_per_pass)
        return self._peak_rate * (_LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + float(np.cos(np.pi * done))))

    def _weights(self) -> list[object]:
        return [variable.numpy() for variable in self.model.trainable_variables]

    def _state(self) -> Arrays:
        variables = [*self.model.trainable_variables, *self._optimizer.variables]
        return [self._stream.queue.copy(), *(np.array(variable.numpy()) for variable in variables)]

    def _restore(self, state: Arrays, random: Json) -> None:
        self._stream.queue = np.asarray(state[0], np.int64)
        for variable, value in zip(
            [*self.model.trainable_variables, *self._optimizer.variables], state[1:], strict=True
        ):
            variable.assign(value)
        self._random.bit_generator.state = random

    def _facts(self, passes: int, losses: list[float]) -> Json:
        return {"passes": passes, "losses": losses, "random": self._random.bit_generator.state}

    def _resumed(self, name: str, passes: int, checkpoints: Checkpoints | None) -> list[float]:
        found = checkpoints.load(name) if checkpoints else None
        if found is None or found[1]["passes"] != passes:
            return []
        self._restore(found[0], found[1]["random"])
        return list(found[1]["losses"])


def _require_finite(loss: float, name: str, passes: int) -> None:
    if not np.isfinite(loss):
        raise DataError(
            f"training {name}: the loss of pass {passes} is {loss}, no number to learn from;"
            " lower train.learning_rate or look for weights and ratings out of all proportion"
        )


def _rated(batch: Examples, mean: float, spread: float) -> Examples:
    """The answers that carry a rating, standardised."""
    ratings = np.asarray(batch.pop("target_ratings"), np.float32)
    known = np.isfinite(ratings)
    return {
        "rated_rows": batch["target_rows"][known],
        "rated_columns": batch["target_columns"][known],
        "ratings": ((ratings[known] - mean) / spread).astype(np.float32),
    }


def steps_per_pass(settings: config.Train, events: Events) -> int:
    """A pass over the users, or less where whole passes would leave more than a tenth of `max_steps` unused."""
    whole, most = -(-len(trainable_users(events)) // settings.batch_size), settings.max_steps
    unused = most % whole if whole <= most else most
    return most // -(-most // whole) if unused > most / 10 else whole
