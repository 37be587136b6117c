"""Whether more or less of a figure is better, said once: for W&B's summaries, sweeps and the best checkpoint.

Names are those of metrics.csv (`val/psnr`), of an evaluation.json (`tokenizer.psnr`) or bare.
"""

from fnmatch import fnmatchcase

from genie.common.errors import UserError

# The first pattern that fits the name decides; None: neither is better, as for the baselines, which no model moves.
DIRECTIONS = (
    ("cost.*", None),
    ("long_rollout.*game*", None),  # of the real game
    ("long_rollout.*recorded*", None),
    ("long_rollout.*rule_*", None),  # of the detector of points
    ("long_rollout.*.present*", None),  # as often as in the real game is best: presence_error
    ("long_rollout.flicker.*ratio", "min"),
    ("*ks", "min"),  # Kolmogorov-Smirnov distance
    ("*horizons_above_*", "max"),
    ("*horizons_below_*", "max"),  # an error is below that of the copy
    ("*_clips", None),  # how many there were
    ("*.videos", None),
    ("*floor", None),
    ("*.mass*", None),  # 1 is best
    ("*_random_actions*", None),
    ("*_simulator*", None),
    ("*_reconstruction", None),
    ("*constant_velocity*", None),
    ("*.rally.clips*", None),
    ("*.rally.frames", None),
    ("*.obedience.actions.*", None),
    ("*.obedience.dependence", None),
    ("*_low", None),
    ("*_high", None),
    ("*_copy_last*", None),
    ("*_background*", None),
    ("*_majority", None),
    ("*_always_*", None),
    ("*reward_mean*", None),
    ("*_unchanged*", None),
    ("*_error_zero", None),
    ("*_spread", None),
    ("*_of_mean", None),
    ("*_rewards", None),  # how many there were
    ("imagination.*seconds", "min"),
    ("imagination.*_mb", "min"),
    ("*steps_per_second", "max"),
    ("*decisions_per_second", "max"),
    ("planning.*.return", "max"),
    ("planning.*.success", "max"),
    ("prediction.*_error_*", "min"),
    ("*loss*", "min"),
    ("*rmse*", "min"),
    ("*_error", "min"),
    ("*_recall", "max"),
    ("*fvd*", "min"),
    ("*kvd*", "min"),
    ("*perceptual*", "min"),
    ("*false_alarms*", "min"),
    ("*position_nmi", "min"),  # codes that count frames
    ("*psnr*", "max"),  # delta_psnr too
    ("*ssim*", "max"),
    ("*nmi", "max"),
    ("*accuracy*", "max"),
    ("*cross_entropy", "min"),
    ("*jitter*", "min"),
    ("*correlation", "max"),  # of predicted with true returns
    ("*calibration_error", "min"),
    ("*_mse", "min"),
    ("*precision_*", "max"),
    ("*_precision", "max"),
    ("*recall*", "max"),
    ("*usage", "max"),
    ("*perplexity", "max"),  # of a codebook
    ("*survival", "max"),
    ("*.present*", "max"),
    ("*.in_place*", "max"),
    ("*_rally_present", "max"),
    ("*_rally_in_place", "max"),
    ("*_rally_doubled", "min"),
    ("*.doubled*", "min"),
    ("*.invented*", "min"),
    ("*.distance_*", "min"),
    ("*passes_per_frame", "min"),
    ("*seconds_per_frame", "min"),
    ("*imagined_return", "max"),
    ("*value_error", "min"),
    ("*absolute_error*", "min"),
)


def direction(name: str) -> str | None:
    """'min' where less of the metric is better, 'max' where more is, None where neither is or it is not known."""
    return next((best for pattern, best in DIRECTIONS if fnmatchcase(name, pattern)), None)


def chosen_direction(choice: str, name: str, key: str) -> str:
    """`choice` ("min" or "max"), or with "auto" that of the metric `name`; UserError where it has none."""
    if choice not in ("auto", "min", "max"):
        raise UserError(f"{key}={choice} must be auto, min or max")
    found = direction(name) if choice == "auto" else choice
    if found is None:
        raise UserError(f"whether more or less of {name} is better is not known: give {key}=min or {key}=max")
    return found
