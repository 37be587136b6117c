"""The command `genie.inspect`: figures as a table and as inspect.json, pictures and videos."""

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from data_modules.clip_data import ClipData
from genie.common.config_types import require_whole
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.common.media import VIDEO_HEIGHT, check_scale, scale_to
from genie.common.tables import print_table
from genie.inspection.columns import action_facts, count_terminals, episode_facts, number_facts, reward_facts
from genie.inspection.frames import frame_facts
from genie.inspection.pictures import write_clips, write_sheet


def inspect(config: dict[str, Any]) -> None:
    """Inspects the data set of a resolved configuration. Raises UserError where it cannot be trained on."""
    require_whole(config, "num_clips", "scale")
    require_whole(config, "num_videos", least=0)
    require_whole(config["sheet"], "rows", "columns", prefix="sheet.")
    with one_writer(config["output"], "output=") as folder:
        inspect_into(folder, config)


def inspect_into(folder: Path, config: dict[str, Any]) -> None:
    """`inspect` into a folder that nobody else writes into."""
    module = ClipData(**config["data"])
    module.setup()
    check_scale(config["scale"], module.image_size)
    facts = data_facts(module, config["num_clips"])
    with replacing(folder / "inspect.json", "w") as file:
        json.dump(facts, file, indent=2)
    print_table(table_of(facts))
    if module.info.image_size is None:  # there is nothing to be seen
        print(f"written into {folder}: inspect.json")
        return
    clips = module.clips("train", module.num_frames, config["num_clips"])
    clips.augmentation = module.train_dataset.augmentation  # what training changes is seen as well
    write_sheet(folder / "contact_sheet.png", clips, config["sheet"]["rows"], config["sheet"]["columns"])
    scale = config["scale"] or scale_to(module.image_size[0], VIDEO_HEIGHT)
    videos = write_clips(folder, clips, config["num_videos"], scale)
    names = ["inspect.json", "contact_sheet.png", *(path.name for path in videos)]
    print(f"written into {folder}: {', '.join(names)}")


def data_facts(module: ClipData, num_clips: int) -> dict[str, Any]:
    """All facts about a data set that is set up: of the whole, and of each split under "splits"."""
    reader, info = module.splits["train"][0], module.info
    facts = {
        "root": str(module.root),
        "stored_sizes": reader.stored_sizes,
        "image_size": info.image_size,
        "fps": info.fps,
        "num_frames": module.num_frames,
        "stride": module.stride,
        "columns": reader.columns,
        "num_actions": info.num_actions,
        "action_size": info.action_size,
        "state_size": reader.state_size,
        "action_meanings": info.action_meanings,
        "object_names": info.object_names,
    }
    seen: dict[str, tuple[str, int]] = {}
    return facts | {"splits": {split: split_facts(module, split, num_clips, seen) for split in module.splits}}


def split_facts(module: ClipData, split: str, num_clips: int, seen: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """The facts about one split; `seen`: as `frame_facts` takes it."""
    reader, episodes = module.splits[split]
    facts = episode_facts(reader, episodes, module.info.fps * module.stride)
    clips = module.clips(split, module.num_frames, None)
    facts |= {"clips": len(clips), "too_short": clips.too_short}
    if reader.state_size is not None:
        facts["states"] = number_facts(reader, episodes, "states", [f"{n}" for n in range(reader.state_size)])
    if reader.action_size is not None:
        names = reader.action_meanings or [f"{number}" for number in range(reader.action_size)]
        facts["action_numbers"] = number_facts(reader, episodes, "actions", names)
    elif "actions" in reader.columns:
        facts["actions"] = action_facts(reader, episodes)
    if "rewards" in reader.columns:
        facts["rewards"] = reward_facts(reader, episodes)
    if "terminals" in reader.columns:
        facts["terminals"] = count_terminals(reader, episodes)
    if reader.image_size is None:
        return facts
    return facts | {"look": frame_facts(module.clips(split, module.num_frames, num_clips), seen, split)}


def table_of(facts: dict[str, Any]) -> Table:
    """The facts as a table, a column for each split."""
    title = (
        f"{facts['root']}: {_observed(facts)}, {facts['fps']:g} a second, clips of {facts['num_frames']}; "
        f"columns: {', '.join(facts['columns']) or 'none'}"
    )
    table = Table("", *facts["splits"], title=title, title_justify="left")
    rows = [rows_of(split) for split in facts["splits"].values()]
    for name in dict.fromkeys(name for row in rows for name in row):
        table.add_row(name, *(row.get(name, "") for row in rows))
    return table


def _observed(facts: dict[str, Any]) -> str:
    """What is seen, in words."""
    if facts["image_size"] is None:
        return f"states of {facts['state_size']} numbers"
    sizes = ", ".join(f"{height}x{width}" for height, width in facts["stored_sizes"][:4])
    sizes += f" and {len(facts['stored_sizes']) - 4} more" if len(facts["stored_sizes"]) > 4 else ""
    return f"frames of {sizes}, seen at {facts['image_size'][0]}x{facts['image_size'][1]}"


def rows_of(split: dict[str, Any]) -> dict[str, str]:
    """What the table says of a split."""
    lengths, look = split["episode_frames"], split.get("look")
    rows = {
        "recordings": f"{split['recordings']}",
        "episodes": f"{split['episodes']}",
        "frames": f"{split['frames']}",
        "minutes": f"{split['minutes']:.1f}",
        "episode length": f"{lengths['min']} to {lengths['max']}, median {lengths['median']:g}",
        "clips": f"{split['clips']}",
    }
    if split["too_short"]:  # what ends in them, deaths above all, is then never learned
        rows["too short"] = f"{split['too_short']} episodes"
    numbers = {f"state {name}": facts for name, facts in split.get("states", {}).items()}
    numbers |= {f"action {name}": facts for name, facts in split.get("action_numbers", {}).items()}
    for name, facts in numbers.items():
        rows[name] = f"{facts['min']:.3g} to {facts['max']:.3g}, {facts['mean']:.3g} ± {facts['std']:.2g}"
    rows |= {f"action {name}": f"{share:.1%}" for name, share in split.get("actions", {}).items()}
    if rewards := split.get("rewards"):
        rows["rewards"] = f"{rewards['min']:g} to {rewards['max']:g}, {1 - rewards['not_zero']:.1%} 0"
        rows |= {f"reward {value}": f"{count}" for value, count in (rewards["counts"] or {}).items()}
    if "terminals" in split:
        rows["terminals"] = f"{split['terminals']}"
    if look is None:
        return rows
    rows["brightness"] = f"{look['brightness']:.3f}"
    if look["motion"] is not None:
        rows["motion"] = f"{look['motion']:.4f}"
        rows["still frames"] = f"{look['still']:.1%}"
    rows["dark frames"] = f"{look['dark']:.1%}"
    rows["repeated clips"] = f"{look['repeated']} of {look['clips_sampled']}"
    rows["also in another split"] = f"{look['in_other_split']} of {look['clips_sampled']}"
    return rows
