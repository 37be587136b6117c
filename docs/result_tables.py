"""The tables of results: what is in their rows and columns.

A table more is an entry of `TABLES`, its files in docs/results (`python -m docs.tables --add … --as …`), and two lines
on the page that shows it.
"""

from docs.tables import Table, Template, by_run, named

VIDEOS = ("generated", "reconstruction", "copy_last", "constant_velocity")
HORIZONS = (0, 4, 9, 23)  # of generated frames 1, 5, 10, 24
THERE = "{long.rollout_objects.ball.VIDEO.present_by_horizon[99]:.0%}"
IN_PLACE = THERE.replace("present", "in_place")


def at(path: str, form: str, *places: int) -> str:
    """The values of a curve at some places, as "45.4, 39.0": at("pong.rollout.psnr_by_horizon", ".1f", 0, 9)."""
    return ", ".join(f"{{{path}[{place}]:{form}}}" for place in places)


def in_rally(thing: str, what: str, *videos: str) -> list[str]:
    """A share of the frames of rallies by horizon, in each of the videos."""
    path = f"far.rollout_objects.{thing}.rally"
    return [at(f"{path}.{video}.{what}_by_horizon", ".0%", *HORIZONS) for video in videos or VIDEOS]


def rollout(file: str, *places: int) -> list[str]:
    """PSNR of generated frames, of the ceiling, and of the copy."""
    kinds = ("psnr", "psnr_reconstruction", "psnr_copy_last")
    return [f"{at(f'{file}.rollout.{kind}_by_horizon', '.1f', *places)} dB" for kind in kinds]


GENERATED, _, COPY = rollout("", 0, 9)
WORLDS = by_run(
    "world",
    {
        "trained": ("{.trained.text}", "{.trained.hours:.1f} hours on {.trained.device}"),
        "tokenizer, PSNR": "{.tokenizer.psnr:.1f} dB",
        "generated frames 1, 10, PSNR (a copy of the last frame)": (
            f"{GENERATED} ({COPY})",
            "{.rollout.psnr_mean} dB, mean of 10",
        ),
        "ΔPSNR, t = 4": "{.delta_psnr.t4:.1f} dB",
        "FVD (a copy)": ("{.fvd.value:.0f} ({.fvd.value_copy_last:.0f})", "{.fvd.value}"),
    },
    {
        "**Pong**, the shipped world": "pong",
        "**Pong**, `make demo`": "demo",
        "**CoinRun**": "coinrun",
        "GenieRedux-Base [1], CoinRun": "peers.genieredux",
        "GenieRedux-G-Base [1], CoinRun, true actions": "peers.genieredux_g",
        "GenieRedux-G-TA [1], … and data of a trained agent": "peers.genieredux_g_ta",
        "Jafar as trained in [1], CoinRun": "peers.jafar",
        "Genie 2.5B [2], Platformers": "peers.genie_platformers",
        "Genie 1B [2], Robotics": "peers.genie_robotics",
    },
)

PADDLE = "{near.rollout_objects.player.VIDEO.present:.1%}; {near.rollout_objects.player.VIDEO.in_place:.1%}; " + (
    "{near.rollout_objects.player.VIDEO.doubled:.1%}"
)
OBEYS = "{far.rollout_objects.player.obedience.correlation:.2f}"
LONG = "{near.long_rollout.THING.generated.present:.1%} ({near.long_rollout.THING.game.present:.1%})"
TWO = "{near.long_rollout.ball.generated.doubled:.1%} ({near.long_rollout.ball.game.doubled:.1%})"
POINTS = (
    "{near.long_rollout.points.generated.per_1000_frames:.0f} ({near.long_rollout.points.game.per_1000_frames:.0f})"
)
BALL, PLAYER, ENEMY = (LONG.replace("THING", thing) for thing in ("ball", "player", "enemy"))

# `near`: the evaluation of a world of Pong, `far`: of rollouts of 24 frames, `long`: of 100. Columns as `VIDEOS`
PONG: list[list[Template]] = [
    ["tokenizer, PSNR", "{near.tokenizer.psnr:.1f} dB", "", "{near.tokenizer.psnr_copy_last:.1f} dB"],
    ["tokenizer, balls that survive", "{near.objects.ball.survival:.1%}"],
    ["tokens that change where no pixel does", "{near.tokens.jitter:.1%}"],
    ["latent against true actions, NMI", "{near.lam.action_nmi:.2f}"],
    [
        "… best matching (always the most common)",
        "{near.lam.action_accuracy:.1%} ({near.lam.action_accuracy_majority:.1%})",
    ],
    [
        "right tokens after a true past, of objects",
        "{near.tokens.object_token_accuracy:.1%}",
        "",
        "{near.tokens.object_token_accuracy_copy_last:.1%}",
    ],
    ["… their cross-entropy", "{near.tokens.object_token_cross_entropy:.2f} nats"],
    ["ΔPSNR, t = 4 (pooled)", "{near.delta_psnr.t4:.1f} dB ({near.delta_psnr.t4_pooled:.1f} dB)"],
    ["rollout, PSNR of frames 1, 10, 24", *rollout("far", 0, 9, 23)],
    ["… ball there in rallies, frames 1, 5, 10, 24", *in_rally("ball", "present", *VIDEOS[:2])],
    ["… in its place", *in_rally("ball", "in_place")],
    [
        "… twice",
        "{far.rollout_objects.ball.rally.generated.doubled:.1%}",
        "{far.rollout_objects.ball.rally.reconstruction.doubled:.1%}",
    ],
    ["… player in its place, while it is seen", *in_rally("player", "in_place")],
    ["… enemy in its place, while it is seen", *in_rally("enemy", "in_place")],
    [
        "player's paddle, all frames: there; in its place; twice",
        *(PADDLE.replace("VIDEO", video) for video in VIDEOS[:3]),
    ],
    ["player obeys: correlation of its displacement with the game's", OBEYS],
    [
        "100 frames after the prompt, {long.clips} clips: ball there, of the frames in which the game has it; in its "
        "place",
        *(f"{THERE}; {IN_PLACE}".replace("VIDEO", video) for video in VIDEOS),
    ],
    [
        "{near.long_rollout.frames:,} frames under random actions, {near.long_rollout.worlds} worlds: ball (in the "
        "real game)",
        BALL,
    ],
    ["… two balls", TWO],
    ["… player; enemy", f"{PLAYER}; {ENEMY}"],
    ["… points per 1,000 frames (in the real game)", POINTS],
    ["FVD, {near.fvd.videos} videos of 16 frames", "{near.fvd.value:.1f}", "", "{near.fvd.value_copy_last:.0f}"],
    ["… against other real clips (real ones there)", "{near.fvd.unpaired:.1f} ({near.fvd.floor:.1f})"],
]
# trained twice by the same command, on different days
AGAIN = by_run(
    "world",
    {
        "trained": "{.trained.hours:.1f} hours on {.trained.device}",
        "tokenizer, PSNR": "{.tokenizer.psnr:.1f} dB",
        "latent against true actions, NMI": "{.lam.action_nmi:.2f}",
        "right tokens after a true past, of objects": "{.tokens.object_token_accuracy:.1%}",
        "generated frames 1, 10, 24, PSNR": at(".rollout.psnr_by_horizon", ".1f", 0, 9, 23) + " dB",
        "ΔPSNR, t = 4": "{.delta_psnr.t4:.1f} dB",
        "ball in its place in rallies, frames 1, 10, 24": at(
            ".rollout_objects.ball.rally.generated.in_place_by_horizon", ".0%", 0, 9, 23
        ),
        "player obeys, correlation": "{.rollout_objects.player.obedience.correlation:.3f}",
        "ball there in 1,000 frames": "{.long_rollout.ball.generated.present:.0%}",
    },
    {"as shipped": "pong", "made again": "pong_again"},
)
COINRUN: list[list[Template]] = [
    ["tokenizer, PSNR", "{.tokenizer.psnr:.1f} dB", "", "{.tokenizer.psnr_copy_last:.1f} dB"],
    ["latent against true actions, NMI", "{.lam.action_nmi:.2f}"],
    ["… best matching (always the most common)", "{.lam.action_accuracy:.1%} ({.lam.action_accuracy_majority:.1%})"],
    ["right tokens after a true past", "{.tokens.token_accuracy:.1%}", "", "{.tokens.token_accuracy_copy_last:.1%}"],
    [
        "… of those that change",
        "{.tokens.changed_token_accuracy:.1%}",
        "",
        "{.tokens.changed_token_accuracy_copy_last:.1%}",
    ],
    ["rollout, PSNR of frames 1, 10", *rollout("", 0, 9)],
    ["ΔPSNR, t = 4 (pooled)", "{.delta_psnr.t4:.1f} dB ({.delta_psnr.t4_pooled:.1f} dB)"],
    [
        "FVD, {.fvd.videos} videos of 16 frames (real ones)",
        "{.fvd.value:.0f} ({.fvd.floor:.0f})",
        "",
        "{.fvd.value_copy_last:.0f}",
    ],
    ["entropy of a drawn token: rank correlation with the true error", "{.uncertainty.entropy.correlation:.2f}"],
]


def in_full(name: str, rows: list[list[Template]], tracker: bool = False, **files: str) -> Table:
    """A table of one world, its figures in the rows; `files`: of the names in the templates of `rows`."""
    header = ["figure", name, "ceiling: true tokens decoded", "copy of the last frame"] + ["tracker"] * tracker
    filled = [[named(template, files) for template in row] for row in rows]
    return Table(header, filled, sources=tuple(dict.fromkeys(files.values())))


PARTS = ("tokenizer", "lam", "dynamics")


def preset(name: str, what: str, measured: str = "") -> list[str]:
    cost = f"costs.{name}"
    devices = "256 devices, each " if name == "paper" else ""
    return [
        f"`{name}`",
        what,
        ", ".join(f"{{{cost}.{part}.parameters:count}}" for part in PARTS),
        f"{devices}{{{cost}.memory:bytes}}",
        f"{{{cost}.operations:power}}",
        "" if name == "debug" else f"{{{cost}.seconds:duration}}",
        measured,
    ]


PRESETS = Table(
    [
        "`model=`",
        "for",
        "parameters: tokenizer, latent actions, dynamics",
        "memory, computed",
        "operations, computed",
        "on H100 at 40% of its peak, computed",
        "measured",
    ],
    [
        preset("debug", "does everything run?"),
        preset("minatar", "MinAtar, 10x10 pixels, minutes on a CPU core"),
        preset("pong_demo", "`pong`, trained for less", "{demo.trained.hours:.1f} hours on {demo.trained.device}"),
        preset("pong", "Atari at 64x64 on two CPU cores", "{pong.trained.hours:.1f} hours on {pong.trained.device}"),
        preset(
            "coinrun_small",
            "CoinRun at 64x64 on two CPU cores",
            "{coinrun.trained.hours:.1f} hours on {coinrun.trained.device}",
        ),
        preset("coinrun", "the paper's case study in Jafar's sizes, on a GPU, with activation checkpointing"),
        preset("pong_notes", "Atari at 128x72 with the score, on a GPU"),
        preset("paper", "Genie as published, 160x90"),
    ],
)

GPUS = Table(
    ["training", "most memory", "time at 40% of the peak"],
    [
        [f"`{{costs.{name}.command}}`", f"{{costs.{name}.memory:bytes}}", f"{{costs.{name}.seconds:duration}}"]
        for name in ("pong_notes_4gb", "coinrun_8gb", "coinrun_24gb", "coinrun")
    ],
)

POLICIES = by_run(
    "who plays",
    {
        "return": "{.return.mean:.1f} ± {.return.std_error:.1f}",
        "balls returned": "{.balls_returned.mean:.1%}",
        "random play": "{.random.return.mean:.1f} ± {.random.return.std_error:.1f}; {.random.balls_returned.mean:.1%}",
        "better by": "{.difference.standard_errors:.1f} errors",
    },
    {
        "the clone": "pong_clone",
        "actor, seed 0": "pong_actor_0",
        "actor, seed 1": "pong_actor_1",
        "actor, seed 2": "pong_actor_2",
        "planner, valued by the critic of seed 0": "pong_planner_0",
        "in the RSSM: the clone": "pong_rssm_clone",
        "… actor, seed 0": "pong_rssm_actor_0",
        "… actor, seed 1": "pong_rssm_actor_1",
        "… actor, seed 2": "pong_rssm_actor_2",
        "… actor, seed 0, 6,000 steps": "pong_rssm_long_0",
    },
)

TRUE_ACTIONS = by_run(
    "actions of the dynamics",
    {
        "right tokens that change": "{.tokens.changed_token_accuracy:.1%}",
        "generated frames 1, 10, PSNR (a copy of the last frame)": f"{GENERATED} ({COPY})",
        "ΔPSNR, t = 4 (pooled)": "{.delta_psnr.t4:.1f} dB ({.delta_psnr.t4_pooled:.1f} dB)",
    },
    {"latent, nine": "coinrun", "true, fifteen": "coinrun_true"},
)

EARNED = "{.returns.WHO.mean:.1f} ± {.returns.WHO.std_error:.1f}"
LABELS = by_run(
    "labels drawn from",
    {
        "random": EARNED.replace("WHO", "random"),
        **{f"{count:,} labels": EARNED.replace("WHO", f"labels_{count}") for count in (5, 20, 50, 200, 1000)},
        "oracle: cloned with the true actions": EARNED.replace("WHO", "oracle"),
        "expert": EARNED.replace("WHO", "expert"),
    },
    {"the expert's recording": "coinrun_labels_expert", "random play": "coinrun_labels_world"},
)

# Beside Pong's, whose objects have a table of their own
MET = (
    "{.rollout_objects.THING.rally.generated.in_place:.0%} ({.rollout_objects.THING.rally.copy_last.in_place:.0%}; "
    "{.rollout_objects.THING.rally.reconstruction.in_place:.0%})"
)
GAMES = by_run(
    "game",
    {
        "trained": "{.trained.hours:.1f} hours on {.trained.device}, {.trained.dynamics.peak_rss_mb:.0f} MB",
        "tokenizer, PSNR (a copy)": "{.tokenizer.psnr:.1f} dB ({.tokenizer.psnr_copy_last:.1f})",
        "right tokens that change": "{.tokens.changed_token_accuracy:.1%}",
        "generated frames 1, 10, PSNR (a copy of the last frame)": f"{GENERATED} ({COPY})",
        "ΔPSNR, t = 4 (pooled)": "{.delta_psnr.t4:.1f} dB ({.delta_psnr.t4_pooled:.1f} dB)",
        "latent against true actions, NMI; matching (most common)": (
            "{.lam.action_nmi:.2f}; {.lam.action_accuracy:.1%} ({.lam.action_accuracy_majority:.1%})",
            "{.lam.action_explained:.1%} of the torques' variance",
        ),
        "in its place in 10 generated frames (a copy; the tokenizer alone)": (
            f"ball {MET.replace('THING', 'ball')}; player {MET.replace('THING', 'player')}",
            f"player {MET.replace('THING', 'player')}",
        ),
        "player obeys, correlation": "{.rollout_objects.player.obedience.correlation:.2f}",
        "FVD (a copy; real clips)": "{.fvd.value:.0f} ({.fvd.value_copy_last:.0f}; {.fvd.floor:.0f}), {.fvd.videos} "
        "videos",
    },
    {
        "Atari Breakout": "breakout",
        "Atari Freeway": "freeway",
        "MinAtar Breakout": "minatar_breakout",
        "MuJoCo Reacher": "reacher",
        "CoinRun": "coinrun",
    },
)

TABLES = {
    "games": GAMES,
    "pong_policies": POLICIES,
    "pong_again": AGAIN,
    "coinrun_labels": LABELS,
    "coinrun_actions": TRUE_ACTIONS,
    "worlds": WORLDS,
    "presets": PRESETS,
    "gpus": GPUS,
    "pong": in_full("shipped world", PONG, tracker=True, near="pong", far="pong", long="pong_100"),
    "demo": in_full("`make demo`", PONG, tracker=True, near="demo", far="demo_rollouts", long="demo_rollouts"),
    "coinrun": in_full("CoinRun", COINRUN, **{"": "coinrun"}),
}
