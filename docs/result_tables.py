"""The tables of results: what is in their rows and columns.

A table more is an entry of `TABLES`, its files in docs/results (`python -m docs.tables --add … --as …`), and two lines on
the page that shows it.
"""

from docs.tables import Table, by_run

RALLY = "rollout_objects.ball.rally"
VIDEOS = ("generated", "reconstruction", "copy_last", "constant_velocity")
HORIZONS = (0, 4, 9, 23)  # of generated frames 1, 5, 10, 24


def at(path: str, form: str, *places: int) -> str:
    """The values of a curve at some places, as "45.4, 39.0": at("pong.rollout.psnr_by_horizon", ".1f", 0, 9)."""
    return ", ".join(f"{{{path}[{place}]:{form}}}" for place in places)


WORLDS = by_run(
    "world",
    {
        "trained": ("{.trained.text}", "{.trained.hours:.1f} hours on {.trained.device}"),
        "tokenizer, PSNR": "{.tokenizer.psnr:.1f} dB",
        "generated frames 1, 10, PSNR (a copy of the last frame)": (
            f"{at('.rollout.psnr_by_horizon', '.1f', 0, 9)} dB ({at('.rollout.psnr_copy_last_by_horizon', '.1f', 0, 9)})",
            "{.rollout.psnr_mean} dB, mean of 10",
        ),
        "ΔPSNR, t = 4": "{.delta_psnr.t4:.1f} dB",
        "FVD (a copy)": ("{.fvd.value:.0f} ({.fvd.value_copy_last:.0f})", "{.fvd.value}"),
    },
    {
        "**Pong**, the shipped world": "pong",
        "**Pong**, `make demo`": "demo",
        "**CoinRun**, a first look": "coinrun",
        "GenieRedux-Base [1], CoinRun": "peers.genieredux",
        "GenieRedux-G-Base [1], CoinRun, true actions": "peers.genieredux_g",
        "GenieRedux-G-TA [1], … and data of a trained agent": "peers.genieredux_g_ta",
        "Jafar as trained in [1], CoinRun": "peers.jafar",
        "Genie 2.5B [2], Platformers": "peers.genie_platformers",
        "Genie 1B [2], Robotics": "peers.genie_robotics",
    },
)


def pong(near: str, far: str, name: str) -> Table:
    """A world of Pong in full. `near`: the file of its evaluation, `far`: that of rollouts of 24 frames."""
    rally, objects, long = f"{far}.{RALLY}", f"{far}.rollout_objects", f"{near}.long_rollout"

    def in_rally(thing: str, what: str) -> list[str]:
        path = f"{objects}.{thing}.rally"
        return [at(f"{path}.{video}.{what}_by_horizon", ".0%", *HORIZONS) for video in VIDEOS]

    def all_frames(video: str) -> str:
        shares = [f"{{{near}.rollout_objects.player.{video}.{what}:.1%}}" for what in ("present", "in_place", "doubled")]
        return "; ".join(shares)

    def long_shares(thing: str) -> str:
        return f"{{{long}.{thing}.generated.present:.1%}} ({{{long}.{thing}.game.present:.1%}})"

    return Table(
        ["figure", name, "ceiling: true tokens decoded", "copy of the last frame", "tracker"],
        [
            ["tokenizer, PSNR", f"{{{near}.tokenizer.psnr:.1f}} dB", "", f"{{{near}.tokenizer.psnr_copy_last:.1f}} dB", ""],
            ["tokenizer, balls that survive", f"{{{near}.objects.ball.survival:.1%}}", "", "", ""],
            ["tokens that change where no pixel does", f"{{{near}.tokens.jitter:.1%}}", "", "", ""],
            ["latent against true actions, NMI", f"{{{near}.lam.action_nmi:.2f}}", "", "", ""],
            [
                "… best matching (always the most common)",
                f"{{{near}.lam.action_accuracy:.1%}} ({{{near}.lam.action_accuracy_majority:.1%}})",
                "", "", "",
            ],
            [
                "right tokens after a true past, of objects",
                f"{{{near}.tokens.object_token_accuracy:.1%}}",
                "", f"{{{near}.tokens.object_token_accuracy_copy_last:.1%}}", "",
            ],
            ["… their cross-entropy", f"{{{near}.tokens.object_token_cross_entropy:.2f}} nats", "", "", ""],
            ["ΔPSNR, t = 4 (pooled)", f"{{{near}.delta_psnr.t4:.1f}} dB ({{{near}.delta_psnr.t4_pooled:.1f}} dB)", "", "", ""],
            [
                "rollout, PSNR of frames 1, 10, 24",
                *(
                    f"{at(f'{far}.rollout.psnr{video}_by_horizon', '.1f', 0, 9, 23)} dB"
                    for video in ("", "_reconstruction", "_copy_last")
                ),
                "",
            ],
            ["… ball there in rallies, frames 1, 5, 10, 24", *in_rally("ball", "present")[:2], "", ""],
            ["… in its place", *in_rally("ball", "in_place")],
            ["… twice", f"{{{rally}.generated.doubled:.1%}}", f"{{{rally}.reconstruction.doubled:.1%}}", "", ""],
            ["… player in its place, while it is seen", *in_rally("player", "in_place")],
            ["… enemy in its place, while it is seen", *in_rally("enemy", "in_place")],
            ["player's paddle, all frames: there; in its place; twice", *(all_frames(video) for video in VIDEOS[:3]), ""],
            [
                "player obeys: correlation of its displacement with the game's",
                f"{{{objects}.player.obedience.correlation:.2f}}",
                "", "", "",
            ],
            [
                f"{{{long}.frames:,}} frames under random actions, {{{long}.worlds}} worlds: ball (in the real game)",
                long_shares("ball"), "", "", "",
            ],
            ["… two balls", f"{{{long}.ball.generated.doubled:.1%}} ({{{long}.ball.game.doubled:.1%}})", "", "", ""],
            ["… player; enemy", f"{long_shares('player')}; {long_shares('enemy')}", "", "", ""],
            [
                "… points per 1,000 frames (in the real game)",
                f"{{{long}.points.generated.per_1000_frames:.0f}} ({{{long}.points.game.per_1000_frames:.0f}})",
                "", "", "",
            ],
            [f"FVD, {{{near}.fvd.videos}} videos of 16 frames", f"{{{near}.fvd.value:.1f}}", "", f"{{{near}.fvd.value_copy_last:.0f}}", ""],
            ["… against other real clips (real ones there)", f"{{{near}.fvd.unpaired:.1f}} ({{{near}.fvd.floor:.1f}})", "", "", ""],
        ],
        sources=(near, far) if near != far else (near,),
    )  # fmt: skip


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
            "{coinrun.trained.hours:.1f} hours on {coinrun.trained.device} for {coinrun.trained.dynamics.steps:,} of "
            "{costs.coinrun_small.dynamics.steps:,} steps of the dynamics, and less of the others, too",
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

TABLES = {
    "worlds": WORLDS,
    "presets": PRESETS,
    "gpus": GPUS,
    "pong": pong("pong", "pong", "shipped world"),
    "demo": pong("demo", "demo_rollouts", "`make demo`"),
    "coinrun": Table(
        ["figure", "CoinRun", "copy of the last frame", "ceiling: true tokens decoded"],
        [
            ["tokenizer, PSNR", "{coinrun.tokenizer.psnr:.1f} dB", "{coinrun.tokenizer.psnr_copy_last:.1f} dB", ""],
            ["latent against true actions, NMI", "{coinrun.lam.action_nmi:.2f}", "", ""],
            [
                "… best matching (always the most common)",
                "{coinrun.lam.action_accuracy:.1%} ({coinrun.lam.action_accuracy_majority:.1%})",
                "",
                "",
            ],
            [
                "right tokens after a true past",
                "{coinrun.tokens.token_accuracy:.1%}",
                "{coinrun.tokens.token_accuracy_copy_last:.1%}",
                "",
            ],
            [
                "… of those that change",
                "{coinrun.tokens.changed_token_accuracy:.1%}",
                "{coinrun.tokens.changed_token_accuracy_copy_last:.1%}",
                "",
            ],
            [
                "rollout, PSNR of frames 1, 10",
                *(
                    f"{at(f'coinrun.rollout.psnr{video}_by_horizon', '.1f', 0, 9)} dB"
                    for video in ("", "_copy_last", "_reconstruction")
                ),
            ],
            ["ΔPSNR, t = 4 (pooled)", "{coinrun.delta_psnr.t4:.1f} dB ({coinrun.delta_psnr.t4_pooled:.1f} dB)", "", ""],
            [
                "FVD, {coinrun.fvd.videos} videos of 16 frames (real ones)",
                "{coinrun.fvd.value:.0f} ({coinrun.fvd.floor:.0f})",
                "{coinrun.fvd.value_copy_last:.0f}",
                "",
            ],
            [
                "entropy of a drawn token: rank correlation with the true error",
                "{coinrun.uncertainty.entropy.correlation:.2f}",
                "",
                "",
            ],
        ],
        sources=("coinrun",),
    ),
}
