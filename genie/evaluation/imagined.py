"""The chosen world on held-out clips: what it imagines under the true actions, once for all parts that look at it.

Fully autoregressive: after the given observations it is told nothing more.

Dimension letters: `N` clips, `B` batch, `T` observations of a clip, `P` given ones, `n` = T - P imagined ones, `O` the
shape of an observation, `S` tokens.
"""

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from genie.evaluation.clips import Clips
from genie.evaluation.latent_actions import actions_between
from genie.evaluation.rollout import clip_seeds
from genie.evaluation.subject import Subject
from genie.models.heads import Judged
from genie.world.protocol import World


@dataclass(frozen=True)
class Imagined:
    """What a world imagined of N clips, on the CPU.

    Attributes:
        observations: [N, n, *O].
        tokens: int64 [N, n, S]; None for a world without tokens.
        judged: [N, n] each: what its rewards and ends say of these steps; None for a world that knows neither.
    """

    observations: Tensor
    tokens: Tensor | None
    judged: Judged | None


@torch.no_grad()
def imagine_clips(world: World, clips: Clips, prompt: int, seed: int) -> Imagined:
    """P = `prompt` observations of each clip are given and the others imagined, `clips.batch_size` clips at a time. The
    draws of a clip depend on its number and `seed` alone."""
    batches = []
    for first, batch in zip(range(0, len(clips), clips.batch_size), clips.batches(), strict=True):
        actions = actions_between(world, batch)
        seeds = clip_seeds(seed, range(first, first + len(batch)), 0)
        given = batch.observations[:, :prompt].to(world.device)
        state, steps, judged = world.reset(given, actions[:, : prompt - 1], seeds), [], []
        for action in actions[:, prompt - 1 :].unbind(1):
            before, (state, step) = state, world.step(state, action)
            steps.append(step)
            if world.knows_rewards or world.knows_ends:
                judged.append(world.judge(before, action, state))
        batches.append(
            Imagined(
                torch.stack([step.observation for step in steps], dim=1).cpu(),
                torch.stack([step.tokens for step in steps], dim=1).cpu() if hasattr(steps[0], "tokens") else None,
                stack_judged(judged) if judged else None,
            )
        )
    return Imagined(
        torch.cat([batch.observations for batch in batches]),
        None if batches[0].tokens is None else torch.cat([batch.tokens for batch in batches]),
        None if batches[0].judged is None else _joined([batch.judged for batch in batches], torch.cat, 0),
    )


def stack_judged(steps: list[Judged]) -> Judged:
    """What is said of step after step [B] as one, [B, n], on the CPU."""
    return _joined(steps, torch.stack, 1)


def _joined(parts: list[Judged], join, dim: int) -> Judged:
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Judged))
    return Judged(*(None if column[0] is None else join(column, dim).cpu() for column in columns))


class Foresight:
    """The chosen world of a `subject` and the held-out `clips` of its data, of which `prompt` observations are given.
    Both properties raise `LeftOut` where there is no such world, or where it cannot be told what was done."""

    def __init__(self, subject: Subject, clips: Clips, prompt: int, seed: int) -> None:
        self.subject, self.clips, self.prompt, self.seed = subject, clips, prompt, seed

    @property
    def world(self) -> World:
        """On the device of the evaluation."""
        return self.subject.chosen_world

    @cached_property
    def imagined(self) -> Imagined:
        """All clips, imagined once."""
        return imagine_clips(self.world, self.clips, self.prompt, self.seed)
