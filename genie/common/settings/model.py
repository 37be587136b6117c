"""Keys of the group model, and of the recipes that a preset brings with it: how long and how each stage is trained."""

from typing import Literal

from genie.common.settings.kinds import (
    LEFT_OUT,
    Count,
    Decay,
    Depth,
    Flag,
    FromZero,
    Moved,
    NotNegative,
    Positive,
    Reconstruction,
    Settings,
    Share,
    Size,
    SomeShare,
    Text,
    Weighting,
    Word,
)


class Transformer(Settings):
    """Options of `genie.models.st_transformer.STTransformer`."""

    mlp_ratio: Positive = LEFT_OUT
    temporal_positions: Word = LEFT_OUT
    spatial_positions: Word = LEFT_OUT
    max_frames: Count = LEFT_OUT
    qk_norm: Flag = LEFT_OUT
    bias: Flag = LEFT_OUT
    dropout: Share = LEFT_OUT
    activation_checkpointing: Flag = LEFT_OUT


class Quantized(Settings):
    """What tokenizer and latent action model have in common."""

    patch_size: Count
    width: Count
    num_blocks: Depth
    num_heads: Count
    head_dim: Count | None = LEFT_OUT
    latent_dim: Count = LEFT_OUT
    decoder_blocks: Depth | None = LEFT_OUT
    channels: Count = LEFT_OUT
    quantizer: Word = LEFT_OUT
    levels: list[Count] | None = LEFT_OUT
    commitment: NotNegative = LEFT_OUT
    revive_after: FromZero = LEFT_OUT
    standardize: Flag = LEFT_OUT
    transformer: Transformer | None = LEFT_OUT


class Tokenizer(Quantized):
    num_codes: Count
    decoder_width: Count | None = LEFT_OUT
    decoder_heads: Count | None = LEFT_OUT
    architecture: Word | None = LEFT_OUT
    encoder: Word | None = LEFT_OUT
    decoder: Word | None = LEFT_OUT


class LatentActions(Quantized):
    num_actions: Count
    copy_last: Flag = LEFT_OUT
    antisymmetric: Flag = LEFT_OUT
    past_transitions: FromZero = LEFT_OUT
    pooling: Word = LEFT_OUT
    encoder_positions: Word | None = LEFT_OUT
    input: Word = LEFT_OUT


class Dynamics(Settings):
    num_actions: Count | None
    width: Count
    num_blocks: Depth
    num_heads: Count
    head_dim: Count | None = LEFT_OUT
    conditioning: Word = LEFT_OUT
    token_embedding: Word = LEFT_OUT
    token_head: Word = LEFT_OUT
    transformer: Transformer | None = LEFT_OUT


class Model(Settings):
    name: Text
    image_size: Size
    tokenizer: Tokenizer | None
    lam: LatentActions | None
    dynamics: Dynamics | None


class Recipe(Settings):
    """How a stage is trained. Each key may be given with every preset."""

    max_steps: Count = LEFT_OUT
    batch_size: Count = LEFT_OUT
    num_frames: Count = LEFT_OUT
    lr: Positive = LEFT_OUT
    min_lr: NotNegative = LEFT_OUT
    warmup_steps: FromZero = LEFT_OUT
    schedule: Literal["cosine", "wsd", "constant"] = LEFT_OUT
    beta2: Decay = LEFT_OUT
    past_end: FromZero = LEFT_OUT
    optimizer: Literal["adamw", "muon"] = LEFT_OUT
    muon_lr: Positive = LEFT_OUT


class TokenizerRecipe(Recipe):
    reconstruction: Reconstruction = LEFT_OUT
    foreground_weight: NotNegative = LEFT_OUT
    weighting: Weighting = LEFT_OUT
    stability_weight: NotNegative = LEFT_OUT
    stability_tolerance: NotNegative = LEFT_OUT
    quantizer_weight: NotNegative = LEFT_OUT


class LatentActionRecipe(Recipe):
    reconstruction: Reconstruction = LEFT_OUT
    foreground_weight: NotNegative = LEFT_OUT
    change_weight: NotNegative = LEFT_OUT
    weighting: Weighting = LEFT_OUT
    quantizer_weight: NotNegative = LEFT_OUT
    action_free_steps: FromZero = LEFT_OUT
    move_rows: FromZero = LEFT_OUT
    move_columns: FromZero = LEFT_OUT
    moved: Moved = LEFT_OUT


class DynamicsRecipe(Recipe):
    context: Literal["masked", "clean"] = LEFT_OUT
    whole_frames: Share = LEFT_OUT
    clean_prefix: Share = LEFT_OUT
    corruption: Share = LEFT_OUT
    own_draws: Share = LEFT_OUT
    own_draws_from: Share = LEFT_OUT
    unseen_actions: Literal["nearest", None] = LEFT_OUT
    change_weight: NotNegative = LEFT_OUT
    distance_weight: NotNegative = LEFT_OUT
    places: SomeShare = LEFT_OUT
    places_until: Share = LEFT_OUT


class SimulatorRecipe(Recipe):
    patch_size: Count = LEFT_OUT
    channels: Count = LEFT_OUT
    width: Count = LEFT_OUT
    foreground_weight: NotNegative = LEFT_OUT
    weighting: Weighting = LEFT_OUT


class Recipes(Settings):
    tokenizer: TokenizerRecipe | None = LEFT_OUT
    lam: LatentActionRecipe | None = LEFT_OUT
    dynamics: DynamicsRecipe | None = LEFT_OUT
    cotrain: Recipe | None = LEFT_OUT
    simulator: SimulatorRecipe | None = LEFT_OUT
    reward: Recipe | None = LEFT_OUT
    policy: Recipe | None = LEFT_OUT
