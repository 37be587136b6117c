"""Commands take a world from the Hugging Face Hub, write their results beside it here, and need the network once."""

import json

from genie.common.shipped import HOME


def test_commands_play_and_measure_a_world_of_the_hub(hub, run, tmp_path, monkeypatch):
    import fake_hub

    files = {str(path.relative_to(HOME / "pong")): path.read_bytes() for path in (HOME / "pong").rglob("*.*")}
    hub.repositories["me/pong"] = fake_hub.Repository()
    hub.repositories["me/pong"].add("main", files)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    generate = ["-m", "genie.generate", "run=hf://me/pong", "prompt_frames=4", "num_frames=4", "actions=[1]"]
    process = run(tmp_path, *generate)
    assert process.returncode == 0 and process.stderr.count("\n") == 1, process.stderr  # frames, passes and memory
    output = tmp_path / "outputs" / "hf" / "me" / "pong"
    assert (output / "generated.mp4").stat().st_size > 0
    assert not any(path.name == "generated.mp4" for path in (tmp_path / "cache").rglob("*"))

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(hub.requests)
    process = run(
        tmp_path, "-m", "genie.evaluate", "run=hf://me/pong", "parts=[tokenizer]", "num_clips=4", "reuse=false"
    )
    assert process.returncode == 0, process.stderr
    measured = json.loads((output / "evaluation" / "evaluation.json").read_text())
    assert measured["clips"] == 4 and measured["run"] == "outputs/hf/me/pong" and len(hub.requests) == asked

    process = run(tmp_path, "-m", "genie.generate", "run=hf://me/other")
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert (
        process.stderr.startswith("error: hf://me/other: it is not in the cache") and "HF_HUB_OFFLINE" in process.stderr
    )
