"""Definitions of the measures, in short.

What the measures are, in short: the report repeats it, so that it can be read without the documents.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """`text` says in short what the place `where` of the documents says."""

    title: str
    text: str
    where: str


DEFINITIONS = {
    "psnr": Definition(
        "PSNR",
        "How far two pictures are apart: −10 · log10 of the mean squared error of values in [0, 1], in dB. 20 dB is an "
        "average error of a tenth of the range, 40 dB of a hundredth. The error is averaged over all frames first "
        "(pooled). It says something only beside predictions that need no model, on the same frames: a copy of the "
        "last frame (in a rollout of the last given one), and the constant background, which is the per-pixel median "
        "of the training frames.",
        "docs/metrics.md, PSNR and its two baselines",
    ),
    "ssim": Definition(
        "SSIM",
        "Structural similarity, −1 to 1: local means, contrasts and structures are compared instead of single pixels.",
        "docs/metrics.md, PSNR and its two baselines",
    ),
    "codebook": Definition(
        "Codes used, perplexity",
        "Used: the share of the codes that occur at least once. Perplexity: how many codes it would be if all were "
        "used equally often, exp(−Σ p log p). Near 1 the codebook has collapsed.",
        "docs/metrics.md, Tokenizer",
    ),
    "objects": Definition(
        "Objects after the tokens",
        "An object survives where the reconstruction differs from the background in the same colour direction as the "
        "original by more than a third as much, within one pixel of its true position. False alarms: the same test at "
        "the mirrored position, where nothing is. A survival means something only while these are rare.",
        "docs/metrics.md, Objects",
    ),
    "alignment": Definition(
        "Latent and true actions",
        "True actions are never trained on. NMI is the normalised mutual information: 0 for unrelated, 1 for the same "
        "up to names. Best matching: the share of transitions on which both agree after the best one-to-one renaming, "
        "beside what always naming the most common action reaches.",
        "docs/metrics.md, Latent action model",
    ),
    "tokens": Definition(
        "Right tokens",
        "One pass of the dynamics guesses all tokens of a frame when all frames before it are the true ones. Most "
        "tokens show the background and stay as they are, so that a copy of the frame before is right for most of "
        "them. Those of patches that show something, and those that change, say what the dynamics knows.",
        "docs/metrics.md, Tokens",
    ),
    "jitter": Definition(
        "Jitter",
        "Tokens that change from one frame to the next though no pixel of their patch does: noise that nobody can "
        "predict.",
        "docs/metrics.md, Tokens",
    ),
    "rollout": Definition(
        "Rollout",
        "Fully autoregressive: after the given frames every frame is made from generated tokens, with the actions "
        "inferred from the true video (or the recorded ones, for a world that takes these), and compared with the true "
        "frame of the same moment. The true frames through the tokenizer alone are the best that can be expected.",
        "docs/metrics.md, Rollout",
    ),
    "object_presence": Definition(
        "Objects in rollouts",
        "In a rollout an object may be elsewhere than in the truth, so it is searched for in the generated frame. "
        "Present: found at all, as a share of the frames that truly show it. In place: found near its true position. "
        "Doubled: found more than once. Invented: found where there is none.",
        "docs/metrics.md, Objects in rollouts",
    ),
    "rally": Definition(
        "Rallies",
        "An object is in a rally while the true frames show it: in the last two given ones and in every one since, up "
        "to the one that is judged. So nobody has to foresee when and where it comes back. Beside what was generated: "
        "the true tokens decoded (the ceiling), and a tracker that goes on with the last displacement and is reflected "
        "at walls. In brackets the 95% interval over clips.",
        "docs/metrics.md, Rallies",
    ),
    "obedience": Definition(
        "Obedience",
        "Of the object whose displacement depends most on the recorded actions: its displacement from frame to frame "
        "in what was generated, against that of the true game under the same action.",
        "docs/metrics.md, Obedience",
    ),
    "long_rollout": Definition(
        "Long rollouts",
        "Far ahead nobody knows where the ball is, so generated videos under held random actions are compared as a "
        "whole with the real game, played on from the same prompts in the same way, and with the recording. A point: "
        "the ball is seen last near the left or right end of the field, and then not for some frames. Speeds: of "
        "frames that follow each other and have the object once; the Kolmogorov-Smirnov distance is the largest "
        "difference of two distribution functions. Flicker: the power of the change from frame to frame at the period "
        "at which the world's window begins anew, over that of the periods around it.",
        "docs/metrics.md, Long rollouts",
    ),
    "delta_psnr": Definition(
        "ΔPSNR: do actions matter?",
        "PSNR of the t-th generated frame with inferred actions, minus that with random ones, from the same prompt "
        "and noise: 0 means that the actions are ignored. The mean over clips, then over draws of random actions; ± is "
        "the standard deviation between draws. Pooled: both PSNRs over all clips before they are subtracted.",
        "docs/metrics.md, ΔtPSNR: do actions matter?",
    ),
    "fvd": Definition(
        "FVD and KVD",
        "Fréchet distance between features of real and of generated videos, and the kernel distance of the same "
        "features. Both depend on the detector, the frames and the number of videos, which the name and the protocol "
        "give. Few videos are far apart even where all are real: what is compared with other clips stands beside what "
        "real videos score there.",
        "docs/metrics.md, FVD and KVD: do the videos look real?",
    ),
    "prediction": Definition(
        "Prediction",
        "Fully autoregressive: after the given observations the world imagines under the true actions and is told "
        "nothing more. Pixels: root mean squared error of values in [0, 1]. Tokens: the share of those that are not "
        "the true frame's. States: root mean squared error in the standard deviations of each number, so that 1 is no "
        "better than knowing nothing. Beside it stands the last given observation, for ever.",
        "docs/metrics.md, Prediction",
    ),
    "reward": Definition(
        "Rewards and ends",
        "What the world says of steps, beside what the data record: in states that were really reached, and in those "
        "that it imagines when the same is done. Rewards that are not 0 are rare, so the share that is found (by the "
        "likeliest sign) and the share of what was found that is one count. Of segments: the correlation of predicted "
        "and true returns, and how often the better one of two is told.",
        "docs/metrics.md, Rewards and ends",
    ),
    "imagination": Definition(
        "What imagining costs",
        "Branches from one state are imagined under random actions, without drawing a frame, so many at a time. "
        "Memory is the most that the process held, and what of it came on top of what it held before.",
        "docs/metrics.md, What imagining costs",
    ),
    "planning": Definition(
        "Planning in the real environment",
        "Episodes of the real environment, played by planning anew in each step, for each number of candidates and "
        "each horizon, beside the random policy on the same seeds.",
        "docs/metrics.md, Planning in the real environment",
    ),
}
