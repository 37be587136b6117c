"""Labels, units and directions of metrics.

What the figures of an evaluation mean: label, unit, one line and a definition; and which direction is better.

A figure is known by its path in evaluation.json, as in `rollout.psnr_mean`. One that no entry matches is shown all the
same, by its path and without a direction. `definition` names an entry of definitions.py.
"""

import re
from dataclasses import dataclass, replace

from genie.metrics.directions import direction


@dataclass(frozen=True)
class Meaning:
    """One kind of figure.

    `pattern` matches its whole path, `label` may use the pattern's groups as {0}, {1}; `says` is one line. `unit` "%"
    stands for shares in [0, 1]. `beside`: names of figures of the same part that belong beside it, and what they are
    called there. `better`: "max" where more is better, "min" where less is, None where neither is or it is not known
    (`genie.metrics.directions`).
    """

    pattern: str
    label: str
    says: str = ""
    definition: str | None = None
    unit: str = ""
    digits: int = 2
    beside: tuple[tuple[str, str], ...] = ()
    better: str | None = None


MEANINGS = (
    Meaning(
        r"tokenizer\.psnr", "PSNR", "frames that went through the tokens; bounds all that is generated from them",
        "psnr", "dB",
    ),
    Meaning(r"tokenizer\.ssim", "SSIM", "the same frames, by local structure", "ssim", digits=3),
    Meaning(
        r"(?:tokenizer|lam)\.codebook_usage", "codes used", "share of the codes that occur at all",
        "codebook", "%", 1,
    ),
    Meaning(
        r"(?:tokenizer|lam)\.codebook_perplexity", "perplexity", "codes, if all were used equally often",
        "codebook", digits=1,
    ),
    Meaning(
        r"objects\.(.+)\.survival", "{0} survives", "share of its true positions at which the tokens keep it",
        "objects", "%", 1,
        (("false_alarms", "false alarms"), ("seen", "positions"), ("controls", "of the control")),
    ),
    Meaning(r"objects\.(.+)\.false_alarms", "{0}, false alarms", "", "objects", "%", 1),
    Meaning(r"objects\.(.+)\.(?:seen|controls)", "{0}, positions", "", "objects", digits=0),
    Meaning(
        r"lam\.psnr", "next frame, PSNR", "predicted from the past and one latent action", "psnr", "dB"
    ),
    Meaning(
        r"lam\.action_nmi", "NMI with the true actions", "0: unrelated, 1: the same up to names",
        "alignment",
    ),
    Meaning(
        r"lam\.action_accuracy", "best matching with the true actions", "share that agrees after the best renaming",
        "alignment", "%", 1,
    ),
    Meaning(
        r"tokens\.token_accuracy", "right tokens", "in one pass after the true past", "tokens", "%", 1,
        beside=(("token_cross_entropy", "cross-entropy [nats]"),),
    ),
    Meaning(
        r"tokens\.object_token_accuracy", "right tokens, of objects", "of patches that show something", "tokens",
        "%", 1,
        (("object_token_cross_entropy", "cross-entropy [nats]"), ("share_object_tokens", "share of all tokens")),
    ),
    Meaning(
        r"tokens\.changed_token_accuracy", "right tokens, of those that change", "from the frame before", "tokens",
        "%", 1,
        (("changed_token_cross_entropy", "cross-entropy [nats]"), ("share_changed_tokens", "share of all tokens")),
    ),
    Meaning(r"tokens\.(?:(object|changed)_)?token_cross_entropy", "cross-entropy", "", "tokens", "nats"),
    Meaning(r"tokens\.share_(object|changed)_tokens", "share of all tokens", "", "tokens", "%", 1),
    Meaning(
        r"tokens\.jitter", "jitter", "share of tokens that change where the picture does not", "jitter", "%", 2,
    ),
    Meaning(
        r"tokens\.background_jitter", "jitter of the background", "of patches that show nothing else", "jitter",
        "%", 2,
    ),
    Meaning(
        r"rollout\.psnr_first", "PSNR, first frame", "past frames are true, the frame is generated",
        "rollout", "dB",
    ),
    Meaning(
        r"rollout\.psnr_last", "PSNR, last frame", "everything since the prompt is generated",
        "rollout", "dB",
    ),
    Meaning(
        r"rollout\.psnr_mean", "PSNR, mean over the horizon", "generated frames against true ones",
        "rollout", "dB",
    ),
    Meaning(
        r"rollout\.ssim_(first|last|mean)", "SSIM, {0}", "generated frames against true ones, by local structure",
        "ssim", digits=3,
    ),
    Meaning(r"rollout\.psnr_by_horizon", "PSNR by horizon", "", "rollout", "dB"),
    Meaning(r"rollout\.ssim_by_horizon", "SSIM by horizon", "", "ssim", digits=3),
    Meaning(
        r"rollout\.horizons_above_copy_last", "horizons above the copy",
        "generated frames that beat a copy of the last given one", "rollout", digits=0,
    ),
    Meaning(
        r"rollout\.passes_per_frame", "passes per frame", "of the dynamics, for one generated frame",
        digits=1,
    ),
    Meaning(r"rollout\.seconds_per_frame", "seconds per frame", "to generate one", unit="s", digits=3),
    Meaning(
        r"delta_psnr\.t(\d+)", "ΔPSNR, t = {0}", "what random actions cost; 0: actions are ignored",
        "delta_psnr", "dB",
    ),
    Meaning(
        r"delta_psnr\.t(\d+)_pooled", "ΔPSNR, t = {0}, pooled", "clips in which much moves decide it",
        "delta_psnr", "dB",
    ),
    Meaning(r"delta_psnr\.simulator_clips", "clips replayed in the true simulator", digits=0),
    Meaning(
        r"rollout_objects\.(.+)\.rally\.(present|in_place)(?:_by_horizon)?", "{0} {1}, in rallies",
        "share of the frames until the truth first loses it", "rally", "%", 1,
    ),
    Meaning(
        r"rollout_objects\.(.+)\.rally\.doubled(?:_by_horizon)?", "{0} doubled, in rallies", "", "rally", "%", 1
    ),
    Meaning(
        r"rollout_objects\.(.+)\.rally\.distance_(mean|median)(?:_by_horizon)?", "{0}, distance, {1}, in rallies",
        "from its true position, of those present", "rally", "px",
    ),
    Meaning(r"rollout_objects\.(.+)\.rally\.frames", "{0}, frames in rallies", "", "rally", digits=0),
    Meaning(r"rollout_objects\.(.+)\.rally\.clips_by_horizon", "{0}, clips in a rally", "", "rally", digits=0),
    Meaning(
        r"rollout_objects\.(.+)\.obedience\.correlation", "{0} obeys, correlation",
        "of its displacements with the true ones, frame by frame", "obedience",
        beside=(("transitions", "transitions"), ("dependence", "how far the actions decide the true ones")),
    ),
    Meaning(
        r"rollout_objects\.(.+)\.obedience\.sign_accuracy", "{0} obeys, direction",
        "share of its true displacements whose direction is right", "obedience", "%", 1,
    ),
    Meaning(
        r"rollout_objects\.(.+)\.obedience\.actions\.(.+)\.generated", "{0}, displacement under {1}",
        "mean over the frames after this action", "obedience", "px",
        beside=(("true", "in the true game"), ("transitions", "transitions")),
    ),
    Meaning(r"rollout_objects\.(.+)\.obedience\.axis", "{0}, moved along", "", "obedience"),
    Meaning(r"rollout_objects\.(.+)\.obedience\.(?:actions\..+\.)?transitions", "transitions", digits=0),
    Meaning(
        r"rollout_objects\.(.+)\.(present|in_place)(?:_by_horizon)?", "{0} {1}",
        "share of the frames that truly show it", "object_presence", "%", 1,
    ),
    Meaning(
        r"rollout_objects\.(.+)\.(doubled|invented)(?:_by_horizon)?", "{0} {1}", "", "object_presence", "%", 1
    ),
    Meaning(
        r"rollout_objects\.(.+)\.mass(?:_by_horizon)?", "{0}, mass", "1: as much as in the truth", "object_presence"
    ),
    Meaning(
        r"rollout_objects\.(.+)\.distance_(mean|median)(?:_by_horizon)?", "{0}, distance, {1}",
        "from its true position, of those present", "object_presence", "px",
    ),
    Meaning(
        r"rollout_objects\.(.+)\.false_alarms", "{0}, false alarms", "found in true frames where it is not",
        "object_presence", "%", 1,
    ),
    Meaning(r"rollout_objects\.(.+)\.(seen|absent)", "{0}, frames {1}", "", "object_presence", digits=0),
    Meaning(
        r"fvd\.value", "FVD", "of generated videos from the true continuations of the same prompts",
        "fvd", digits=1,
        beside=(("unpaired", "from real videos of other moments"), ("floor", "real videos from these")),
    ),
    Meaning(r"fvd\.unpaired", "FVD, other moments", "", "fvd", digits=1),
    Meaning(r"fvd\.floor", "FVD, real against real", "", "fvd", digits=1),
    Meaning(
        r"fvd\.kvd", "KVD", "the kernel distance of the same features", "fvd", digits=2,
        beside=(("kvd_unpaired", "from real videos of other moments"), ("kvd_floor", "real videos from these")),
    ),
    Meaning(r"fvd\.kvd_unpaired", "KVD, other moments", "", "fvd", digits=2),
    Meaning(r"fvd\.kvd_floor", "KVD, real against real", "", "fvd", digits=2),
    Meaning(r"fvd\.videos", "videos on each side", "", "fvd", digits=0),
    Meaning(
        r"prediction\.pixel_error_(first|last|mean)", "error of pixels, {0}",
        "root mean square over all clips, of values in [0, 1]", "prediction", digits=4,
    ),
    Meaning(
        r"prediction\.token_error_(first|last|mean)", "wrong tokens, {0}", "share that is not as in the true frame",
        "prediction", "%", 1,
    ),
    Meaning(
        r"prediction\.state_error_(first|last|mean)", "error of states, {0}",
        "root mean square, in standard deviations", "prediction", digits=4,
    ),
    Meaning(r"prediction\.pixel_error_by_horizon", "error of pixels by horizon", "", "prediction", digits=4),
    Meaning(r"prediction\.token_error_by_horizon", "wrong tokens by horizon", "", "prediction", "%", 1),
    Meaning(r"prediction\.state_error_by_horizon", "error of states by horizon", "", "prediction", digits=4),
    Meaning(
        r"prediction\.horizons_below_copy_last", "horizons below the copy",
        "imagined steps that beat a copy of the last given observation", "prediction", digits=0,
    ),
    Meaning(
        r"reward\.(\w+)\.reward_mse", "squared error of rewards, {0} states", "", "reward", digits=4,
        beside=(("reward_mse_always_zero", "of always 0"), ("reward_mse_always_mean", "of always their mean")),
    ),
    Meaning(r"reward\.\w+\.reward_mse_always_\w+", "squared error of a constant", "", "reward", digits=4),
    Meaning(
        r"reward\.(\w+)\.reward_mean", "mean reward, {0} states", "", "reward", digits=4,
        beside=(("reward_mean_true", "of the true ones"),),
    ),
    Meaning(r"reward\.(\w+)\.reward_mean_true", "mean true reward, {0} states", "", "reward", digits=4),
    Meaning(
        r"reward\.(\w+)\.recall_positive", "rewards above 0 that are found, {0} states", "by the likeliest sign",
        "reward", "%", 1,
        (("precision_positive", "of the found ones, right"), ("positive_rewards", "how many there were")),
    ),
    Meaning(
        r"reward\.(\w+)\.recall_negative", "rewards below 0 that are found, {0} states", "by the likeliest sign",
        "reward", "%", 1,
        (("precision_negative", "of the found ones, right"), ("negative_rewards", "how many there were")),
    ),
    Meaning(
        r"reward\.(\w+)\.terminal_recall", "ends that are foreseen, {0} states", "", "reward", "%", 1,
        (("terminal_precision", "of the found ones, right"), ("terminals", "how many there were")),
    ),
    Meaning(r"reward\.(\w+)\.(?:precision_\w+|terminal_precision)", "precision, {0} states", "", "reward", "%", 1),
    Meaning(
        r"reward\.(\w+)\.(positive|terminal)_calibration_error", "calibration error, {1}, {0} states",
        "of the probability, in 15 bins", "reward", digits=3,
    ),
    Meaning(
        r"reward\.(\w+)\.return_(pearson|spearman)_correlation", "returns of segments, {1}, {0} states",
        "correlation of predicted with true ones", "reward", digits=3,
    ),
    Meaning(
        r"reward\.(\w+)\.preference_accuracy", "pairs of segments in the right order, {0} states", "a coin: 50%",
        "reward", "%", 1,
    ),
    Meaning(r"reward\.(\w+)\.(segments|terminals|\w+_rewards)", "{1}, {0} states", "how many", "reward", digits=0),
    Meaning(r"imagination\.branches", "branches from one state", "", "imagination", digits=0),
    Meaning(
        r"imagination\.b(\d+)_h(\d+)\.steps_per_second", "{0} at a time, horizon {1}: steps a second",
        "of all branches together", "imagination", digits=0,
        beside=(("seconds", "time"), ("peak_mb", "peak memory"), ("own_mb", "of it for imagining")),
    ),
    Meaning(r"imagination\..+\.seconds", "time", "", "imagination", "s", 2),
    Meaning(r"imagination\..+\.(?:peak|own)_mb", "memory", "", "imagination", "MB", 0),
    Meaning(r"long_rollout\.worlds", "worlds", "prompts that are continued", "long_rollout", digits=0),
    Meaning(r"long_rollout\.frames", "frames of each", "generated after the prompt", "long_rollout", digits=0),
    Meaning(r"long_rollout\.hold", "actions are held for", "in the mean", "long_rollout", "frames", 1),
    Meaning(r"long_rollout\.real_frames\.(game|recorded)", "real frames, {0}", "", "long_rollout", digits=0),
    Meaning(
        r"long_rollout\.(.+)\.presence_error", "{0}, error of its presence",
        "difference from the real share of frames that have it", "long_rollout", "%", 1,
    ),
    Meaning(
        r"long_rollout\.(.+)\.speed_ks", "{0}, speeds", "Kolmogorov-Smirnov distance from the real ones, 0 to 1",
        "long_rollout",
    ),
    Meaning(r"long_rollout\.(.+)\.speed_median", "{0}, median speed", "", "long_rollout", "px"),
    Meaning(r"long_rollout\.(.+)\.present", "{0} present", "share of all frames", "long_rollout", "%", 1),
    Meaning(r"long_rollout\.(.+)\.doubled", "{0} more than once", "share of all frames", "long_rollout", "%", 1),
    Meaning(r"long_rollout\.(.+)\.present_by_quarter", "{0} present, by quarter", "", "long_rollout", "%", 1),
    Meaning(r"long_rollout\.(.+)\.doubled_by_quarter", "{0} more than once, by quarter", "", "long_rollout", "%", 1),
    Meaning(
        r"long_rollout\.points\.rate_error", "error of the points", "difference from the real ones per 1,000 frames",
        "long_rollout", digits=1,
    ),
    Meaning(
        r"long_rollout\.points\.per_1000_frames", "points per 1,000 frames", "the ball leaves at a side",
        "long_rollout", digits=1,
    ),
    Meaning(r"long_rollout\.points\.(left|right)", "… of them at the {0}", "", "long_rollout", digits=1),
    Meaning(
        r"long_rollout\.points\.rule_recall", "recorded rewards that come with such a point",
        "how well the rule works on real frames", "long_rollout", "%", 1,
    ),
    Meaning(r"long_rollout\.points\.rule_precision", "real points that come with a reward", "", "long_rollout", "%", 1),
    Meaning(r"long_rollout\.flicker\.period", "period of the window", "", "long_rollout", "frames", 0),
    Meaning(
        r"long_rollout\.flicker\.ratio", "flicker at the period of the window", "1: none", "long_rollout"
    ),
    Meaning(
        r"long_rollout\.fvd\.at_(\d+)", "FVD of videos from frame {0}", "against recorded clips", "long_rollout",
        digits=1,
    ),
    Meaning(
        r"long_rollout\.fvd\.kvd_at_(\d+)", "KVD of videos from frame {0}", "against recorded clips", "long_rollout"
    ),
    Meaning(r"long_rollout\.fvd\.floor", "FVD, recorded clips against others", "", "long_rollout", digits=1),
    Meaning(r"long_rollout\.fvd\.kvd_floor", "KVD, recorded clips against others", "", "long_rollout"),
    Meaning(r"long_rollout\.fvd\.videos", "videos on each side", "", "long_rollout", digits=0),
    Meaning(r"planning\.return_random", "return of the random policy", "", "planning"),
    Meaning(
        r"planning\.c(\d+)_h(\d+)\.return", "{0} candidates, horizon {1}: return", "± half the 95% interval",
        "planning", beside=(("success", "success"), ("decisions_per_second", "decisions a second")),
    ),
    Meaning(r"planning\..+\.success", "success", "share of the episodes", "planning", "%", 1),
    Meaning(r"planning\..+\.decisions_per_second", "decisions a second", "", "planning"),
    Meaning(r"cost\..+\.seconds", "seconds", unit="s", digits=1),
    Meaning(r"cost\..+\.peak_rss_mb", "peak memory", unit="MB", digits=0),
)  # fmt: skip

# the end of a figure's name -> what it is called beside the figure that it is a reference of
REFERENCES = {
    "copy_last": "copy of the last frame",
    "background": "constant background",
    "reconstruction": "tokenizer alone (the ceiling)",
    "constant_velocity": "constant velocity",
    "random_actions": "random actions",
    "simulator": "true simulator",
    "simulator_tokens": "true simulator, through the tokens",
    "majority": "always the most common",
    "game": "the real game, played likewise",
    "recorded": "recorded",
    "floor": "floor",
}

GROUPS = {
    "tokenizer": "Tokenizer",
    "objects": "Objects after the tokens",
    "lam": "Latent action model",
    "tokens": "Tokens after a true past",
    "rollout": "Rollout",
    "rollout_objects": "Objects in rollouts",
    "long_rollout": "Long rollouts",
    "delta_psnr": "ΔPSNR: do actions matter?",
    "fvd": "FVD",
    "prediction": "Prediction",
    "reward": "Rewards and ends",
    "imagination": "What imagining costs",
    "planning": "Planning in the real environment",
}


def meaning(path: str) -> Meaning:
    """The meaning of a figure, its label filled in; for an unknown one, its name."""
    for known in MEANINGS:
        if match := re.fullmatch(known.pattern, path):
            label = known.label.format(*match.groups()).replace("_", " ")
            return replace(known, label=label, better=direction(path))
    return Meaning(re.escape(path), path.split(".", 1)[-1].replace(".", ", ").replace("_", " "), digits=4)
