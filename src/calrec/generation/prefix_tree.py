"""A user's samples as one prefix tree: what they share is computed once, and they are the samples of separate rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from calrec.generation.attention import forest_attention
from calrec.generation.bound import CatalogueBound
from calrec.generation.draws import Draw, Prompt, draw_tokens, in_order
from calrec.generation.forest import Forest

# Tokens that are guessed for a user in one pass at most, and wrong guesses that are kept of all passes, so that what
# they take is known before.
GUESSES, WRONG_GUESSES = 128, 256


class Drafter(Protocol):
    """What guesses how a beginning goes on, so that several positions are verified in one pass."""

    def propose(self, tokens: tuple[int, ...], depth: int) -> tuple[int, ...]:
        """The tokens that may come after ``tokens``, so many that there are at most ``depth`` in all."""
        ...


@dataclass(frozen=True, slots=True)
class _Branch:
    """Samples of one user that have drawn the same tokens.

    Attributes:
        node: column of the last token where the branch stands on a computed node, of the one before where it waits.
        row: place of the node's logits in the last pass.
    """

    user: int
    samples: NDArray[np.int64]
    tokens: tuple[int, ...]
    log_prob: float
    node: int
    row: int


def sample_tree(
    lm: PreTrainedModel,
    prompts: Sequence[Prompt],
    numbers: Sequence[NDArray[np.float64]],
    end_id: int,
    temperature: float,
    drafter: Drafter | None = None,
    bound: CatalogueBound | None = None,
) -> list[list[Draw]]:
    """Draw the samples of each prompt; see `calrec.generation.sample`.

    What a ``drafter`` guesses is computed beside what is needed, and the samples walk through it as far as their own
    random numbers lead them there: a wrong guess costs time and changes nothing.

    Args:
        numbers: for each prompt what its samples are drawn by: (samples, tokens of a sample at most).
    """
    with forest_attention(lm):
        return _Samplers(Forest(lm, prompts), numbers, end_id, temperature, drafter, bound).run()


class _Samplers:
    """The samples of a batch of users, on their way from the prompts to their ends."""

    def __init__(
        self,
        forest: Forest,
        numbers: Sequence[NDArray[np.float64]],
        end_id: int,
        temperature: float,
        drafter: Drafter | None,
        bound: CatalogueBound | None,
    ) -> None:
        self._forest, self._numbers, self._end_id, self._temperature = forest, numbers, end_id, temperature
        self._drafter, self._bound = drafter, bound
        self._samples, self._length = numbers[0].shape
        self._logits = forest.output
        self._rows = {user: user for user in range(len(numbers))}
        self._guesses: dict[tuple[int, int, int], tuple[int, int]] = {}
        self._may_err = dict.fromkeys(self._rows, WRONG_GUESSES)
        self._draws: list[list[Draw]] = [[] for _ in numbers]

    def run(self) -> list[list[Draw]]:
        samples, tips = np.arange(self._samples), self._forest.tips.tolist()
        standing = [_Branch(user, samples, (), 0.0, tip, row=user) for user, tip in enumerate(tips)]
        while waiting := self._walk(standing):
            self._release(waiting)
            standing = self._compute(waiting)
        return [in_order(draws) for draws in self._draws]

    def _walk(self, standing: list[_Branch]) -> list[_Branch]:
        """Draw until every sample has ended or waits on a node that is not computed; give back those that wait."""
        waiting = []
        while standing:
            children, standing = list(self._split(standing)), []
            for branch in children:
                guess = self._guesses.get((branch.user, branch.node, branch.tokens[-1]))
                if branch.tokens[-1] == self._end_id or len(branch.tokens) == self._length:
                    count, first = len(branch.samples), int(branch.samples[0])
                    self._draws[branch.user].append(Draw(branch.tokens, branch.log_prob, count, first))
                elif guess is not None:
                    self._may_err[branch.user] += 1
                    standing.append(replace(branch, node=guess[0], row=guess[1]))
                else:
                    waiting.append(branch)
        return waiting

    def _split(self, standing: Sequence[_Branch]) -> Iterator[_Branch]:
        """Draw the next token of every sample; those of a branch that draw the same one stay together."""
        numbers = np.zeros((len(standing), max(len(branch.samples) for branch in standing)))
        for row, branch in zip(numbers, standing, strict=True):
            row[: len(branch.samples)] = self._numbers[branch.user][branch.samples, len(branch.tokens)]
        device = self._logits.device
        rows = torch.tensor([branch.row for branch in standing], device=device)
        allowed = None if self._bound is None else [self._bound.after(branch.tokens) for branch in standing]
        normalise = self._bound is not None and self._bound.normalise
        drawn = draw_tokens(
            self._logits, torch.from_numpy(numbers).to(device), self._temperature, allowed, rows, normalise
        )
        counts = np.array([len(branch.samples) for branch in standing])
        real = np.arange(numbers.shape[1]) < counts[:, None]
        owners, samples = np.repeat(np.arange(len(standing)), counts), np.concatenate([b.samples for b in standing])
        tokens, gains = (tensor.cpu().numpy()[real] for tensor in drawn)
        # By branch and token; a stable order leaves the samples of each in their own.
        order = np.lexsort((tokens, owners))
        owners, samples, tokens, gains = (array[order] for array in (owners, samples, tokens, gains))
        firsts = np.flatnonzero(np.diff(owners, prepend=-1) | np.diff(tokens, prepend=-1))
        parts = np.split(samples, firsts[1:])
        for part, owner, token, gain in zip(
            parts, *(array[firsts].tolist() for array in (owners, tokens, gains)), strict=True
        ):
            branch = standing[owner]
            yield _Branch(branch.user, part, (*branch.tokens, token), branch.log_prob + gain, branch.node, branch.row)

    def _release(self, waiting: Sequence[_Branch]) -> None:
        """Free the trees of users whose samples have all ended."""
        users = sorted({branch.user for branch in waiting})
        if len(users) < len(self._rows):
            self._forest.keep([self._rows[user] for user in users])
            self._rows = {user: row for row, user in enumerate(users)}

    def _compute(self, waiting: Sequence[_Branch]) -> list[_Branch]:
        """Compute the nodes that the branches wait for, and the guesses below them."""
        nodes: list[tuple[int, int, int]] = []  # user, parent, token
        places = []
        room = {user: min(GUESSES, self._may_err[user]) for user in self._rows}
        for branch in waiting:
            place = len(nodes)
            places.append(place)
            nodes.append((branch.user, branch.node, branch.tokens[-1]))
            if self._drafter is not None:
                guess = self._drafter.propose(branch.tokens, self._length - 1)[: room[branch.user]]
                room[branch.user] -= len(guess)
                self._may_err[branch.user] -= len(guess)
                for token in guess:
                    nodes.append((branch.user, -len(nodes), token))
        users, parents, tokens = zip(*nodes, strict=True)
        del self._logits  # large, and done with
        columns, self._logits = self._forest.grow([self._rows[user] for user in users], parents, tokens)
        self._guesses = {
            (user, int(columns[-1 - parent]), token): (int(columns[place]), place)
            for place, (user, parent, token) in enumerate(nodes)
            if parent < 0
        }
        return [
            replace(branch, node=int(columns[place]), row=place) for branch, place in zip(waiting, places, strict=True)
        ]
