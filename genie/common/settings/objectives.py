"""Keys of what a stage learns: the groups reward, policy and simulator. conf/ explains them."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from genie.common.settings.kinds import (
    Count,
    Decay,
    Depth,
    FromZero,
    NotNegative,
    Place,
    Positive,
    Range,
    Reconstruction,
    Settings,
    Share,
    SomeShare,
    Weighting,
    Word,
)


class Network(Settings):
    width: Count
    num_layers: Depth


class RewardNetwork(Network):
    num_channels: Count


class BinnedNetwork(RewardNetwork):
    num_bins: Count
    limit: Positive


class TrajectoryReward(Settings):
    name: Literal["trajectory"]
    network: RewardNetwork
    discount: SomeShare
    continue_weight: NotNegative


class StateReward(TrajectoryReward):
    name: Literal["state"]  # type: ignore[assignment]
    network: BinnedNetwork


class PreferenceReward(TrajectoryReward):
    name: Literal["preference"]  # type: ignore[assignment]
    ratings: Place | None
    margin: NotNegative
    label_noise: Annotated[float, BeforeValidator(Range(0, 0.5, whole=False, below=True))]


Reward = Annotated[StateReward | TrajectoryReward | PreferenceReward, Field(discriminator="name")]


class OwnRecipe(Settings):
    """The recipe that a policy or simulator brings with it."""

    max_steps: Count
    batch_size: Count
    num_frames: Count
    lr: Positive
    min_lr: NotNegative
    warmup_steps: FromZero
    beta2: Decay


class ActorCritic(Settings):
    name: Literal["actor_critic"]
    monitor: Word
    network: Network
    actor: Place | None
    horizon: Count
    passes: Count | None
    discount: Share
    mixing: Share
    entropy_weight: NotNegative
    critic_weight: NotNegative
    slow_weight: NotNegative
    slow_decay: Share
    range_decay: Share
    least_range: NotNegative
    recipe: OwnRecipe


class Cloning(Settings):
    name: Literal["behaviour_cloning", "latent_bc"]
    network: Network
    actions: Literal["environment", "latent"]
    num_actions: Count | None
    recipe: OwnRecipe


Policy = Annotated[ActorCritic | Cloning, Field(discriminator="name")]


class RssmEncoder(Settings):
    width: Count
    num_blocks: Depth
    num_heads: Count
    channels: Count


class RssmModel(Settings):
    patch_size: Count
    encoder: Word
    channels: Count
    vit: RssmEncoder
    deterministic: Count
    groups: Count
    classes: Count
    uniform: Share
    width: Count
    head_layers: Depth


class RssmObjective(Settings):
    reconstruction: NotNegative
    dynamics: NotNegative
    reward: NotNegative
    continues: NotNegative
    kl: NotNegative
    imagination: NotNegative
    smoothness: NotNegative
    stability: NotNegative


class Rssm(Settings):
    kind: Literal["rssm"]
    model: RssmModel
    reconstruction: Reconstruction
    foreground_weight: NotNegative
    weighting: Weighting
    free_nats: NotNegative
    imagine: Literal["sample", "mode"]
    imagination_horizon: Count
    objective: RssmObjective
    recipe: OwnRecipe


class DeltaModel(Settings):
    num_members: Depth
    head: Word
    width: Count
    num_layers: Depth
    head_layers: Depth


class Constraints(Settings):
    circles: list[list[FromZero]]
    margin: NotNegative


class DeltaObjective(Settings):
    dynamics: NotNegative
    reward: NotNegative
    continues: NotNegative
    imagination: NotNegative
    smoothness: NotNegative
    constraint: NotNegative


class Delta(Settings):
    kind: Literal["delta"]
    model: DeltaModel
    constraints: Constraints
    propagate: Literal["member", "mean"]
    imagine: Literal["sample", "mode"]
    pessimism: NotNegative
    imagination_horizon: Count
    objective: DeltaObjective
    recipe: OwnRecipe


Simulator = Annotated[Rssm | Delta, Field(discriminator="kind")]
