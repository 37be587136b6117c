"""Delta dynamics of states: an ensemble predicts Δs from s and a; the next state is s + Δs.

Sources: PETS (Chua et al. 2018, arXiv 1805.12114: probabilistic ensembles, a trajectory follows one member), MOPO (Yu
et al. 2020, arXiv 2005.13239: disagreement of the members as uncertainty).

Dimension letters: `M` members, `N` rows, `n` numbers of a state, `A` action vector.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.models.heads import ActionVectors, OutcomeHeads

HEADS = ("gaussian", "deterministic")
LEAST, MOST = -10.0, 1.0  # bounds of log-variances, in units of the usual change


class EnsembleLinear(nn.Linear):
    """A linear layer for each member, [M, N, inputs] → [M, N, outputs], stored as one with M times the outputs."""

    def __init__(self, num_members: int, inputs: int, outputs: int) -> None:
        super().__init__(inputs, num_members * outputs)
        self.num_members = num_members

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        weight = self.weight.unflatten(0, (self.num_members, -1))  # [M, outputs, inputs]
        return torch.baddbmm(self.bias.view(self.num_members, 1, -1), x, weight.mT)


class EnsembleNorm(nn.Module):
    """RMS-norm over the last axis of [M, N, D], with a scale for each member."""

    def __init__(self, num_members: int, width: int) -> None:
        super().__init__()
        self.num_members, self.width = num_members, width
        self.scale = nn.Parameter(torch.ones(num_members * width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (self.width,)) * self.scale.view(self.num_members, 1, -1)


class Ensemble(nn.Sequential):
    """A perceptron for each member, [M, N, inputs] → [M, N, outputs]."""

    def __init__(self, num_members: int, inputs: int, outputs: int, width: int, num_layers: int) -> None:
        if min(num_members, num_layers, width) < 1:
            raise ValueError(f"num_members={num_members}, num_layers={num_layers}, width={width} must be 1 or more")
        layers: list[nn.Module] = []
        for size in (inputs, *[width] * (num_layers - 1)):
            layers += [EnsembleLinear(num_members, size, width), EnsembleNorm(num_members, width), nn.SiLU()]
        super().__init__(*layers, EnsembleLinear(num_members, width, outputs))


@dataclass
class Prediction:
    """`delta` [M, N, n] in units of the usual change, and `log_variance` [M, N, n], None for deterministic heads."""

    delta: Tensor
    log_variance: Tensor | None

    def loss(self, target: Tensor) -> Tensor:
        """Mean of half the squared error to `target` [N, n], or of Gaussian heads of the negative log-likelihood in
        nats (without its constant)."""
        error = (self.delta - target).square()
        if self.log_variance is None:
            return error.mean() / 2
        return (error * (-self.log_variance).exp() + self.log_variance).mean() / 2


class DeltaModel(nn.Module):
    """Simulator on states.

    Args:
        state_size: n.
        num_actions, action_size: see `ActionVectors`.
        num_members: M.
        head: gaussian (with a variance for each number) | deterministic.
        width, num_layers: hidden layers of each member.
        head_layers: of reward and continuation, which read (s, a, s').
        circles: pairs of numbers of a state that are cosine and sine of an angle.

    Buffers hold statistics of the data (`start_from`): mean and standard deviation of states, the usual change from one
    to the next, and the range.
    """

    mean: Tensor
    std: Tensor
    change: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        state_size: int,
        num_actions: int | None,
        action_size: int | None,
        num_members: int,
        head: str,
        width: int,
        num_layers: int,
        head_layers: int,
        circles: list[list[int]],
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"head={head!r}: choose one of {', '.join(HEADS)}")
        if any(len(pair) != 2 or not 0 <= min(pair) < max(pair) < state_size for pair in circles):
            raise ValueError(f"circles={circles}: each is two different numbers of a state of {state_size}, from 0")
        self.state_size, self.num_members, self.gaussian = state_size, num_members, head == "gaussian"
        self.circles = [tuple(pair) for pair in circles]
        self.actions = ActionVectors(num_actions, action_size)
        outputs = state_size * (2 if self.gaussian else 1)
        self.members = Ensemble(num_members, state_size + self.actions.size, outputs, width, num_layers)
        self.outcomes = OutcomeHeads(2 * state_size + self.actions.size, width, head_layers)
        for name, value in {"mean": 0.0, "std": 1.0, "change": 1.0, "low": 0.0, "high": 0.0}.items():
            self.register_buffer(name, torch.full((state_size,), value))

    def start_from(self, **facts: Tensor) -> None:
        """Sets `mean`, `std`, `change`, `low` and `high` [n] of the data; constant numbers are not scaled."""
        for name, values in facts.items():
            values = torch.as_tensor(values, dtype=torch.float32)
            if name in ("std", "change"):
                values = torch.where(values < 1e-6, torch.ones_like(values), values)
            getattr(self, name).copy_(values)

    def normalized(self, states: Tensor) -> Tensor:
        """States [..., n] with mean 0 and standard deviation 1 over the data."""
        return (states - self.mean) / self.std

    def target(self, states: Tensor, following: Tensor) -> Tensor:
        """The true change from states to the following ones, [..., n] in units of the usual one."""
        return (following - states) / self.change

    def predict(self, states: Tensor, actions: Tensor) -> Prediction:
        """From states [N, n], or [M, N, n] with one for each member, and action vectors [N, A]."""
        inputs = torch.cat([self.normalized(states), actions.expand(*states.shape[:-1], -1)], -1)
        output = self.members(inputs.expand(self.num_members, *inputs.shape[-2:]))
        if not self.gaussian:
            return Prediction(output, None)
        delta, spread = output.chunk(2, -1)
        spread = MOST - F.softplus(MOST - spread)
        return Prediction(delta, LEAST + F.softplus(spread - LEAST))

    def following(self, states: Tensor, delta: Tensor) -> Tensor:
        """s + Δs, [M, N, n], from states [N, n] or [M, N, n] and `delta` [M, N, n] in units of the usual change."""
        return states + delta * self.change

    def settled(self, states: Tensor) -> Tensor:
        """States [..., n] with cosine and sine of each angle normalised to the unit circle."""
        for pair in self.circles:
            places = torch.zeros(self.state_size, dtype=torch.bool, device=states.device)
            places[list(pair)] = True
            length = states[..., list(pair)].norm(dim=-1, keepdim=True).clamp_min(1e-6)
            states = torch.where(places, states / length, states)
        return states

    def violation(self, states: Tensor, margin: float) -> Tensor:
        """Mean squared distance of states [..., n] beyond the range of the data (widened by `margin` of itself at
        either end), in standard deviations, plus that of angles from their circles."""
        room = margin * (self.high - self.low)
        beyond = F.relu(states - self.high - room) + F.relu(self.low - room - states)
        total = (beyond / self.std).square().mean()
        for pair in self.circles:
            total = total + (states[..., list(pair)].square().sum(-1) - 1).square().mean()
        return total

    def outcome_features(self, states: Tensor, actions: Tensor, following: Tensor) -> Tensor:
        """Input of the reward and continuation heads, [..., 2n + A]."""
        return torch.cat([self.normalized(states), actions, self.normalized(following)], -1)

    def example_forward(self, states: Tensor) -> None:
        """One pass on states [B, T, n], to count operations."""
        rows = states.flatten(0, -2)
        actions = rows.new_zeros(len(rows), self.actions.size)
        following = self.settled(self.following(rows, self.predict(rows, actions).delta))
        self.outcomes.predict(self.outcome_features(rows, actions, following[0]))
