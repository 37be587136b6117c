"""Worlds on the Hugging Face Hub: addresses, downloads of what is needed alone, one line for each thing that fails."""

import json
from pathlib import Path, PurePosixPath

import pytest
from huggingface_hub import constants

from genie.common import hub as hub_module
from genie.common.errors import UserError
from genie.common.hub import Address, downloaded, parsed_address
from genie.common.shipped import as_typed, located, unpacked

CONFIG = json.dumps({"dynamics.safetensors": {"stage": "dynamics"}, "../x.safetensors": {"stage": "lam"}}).encode()
WORLD = {
    "config.json": CONFIG,
    "dynamics.safetensors": b"weights",
    "other.safetensors": b"of another program",
    "pytorch_model.bin": b"pickle",
    "README.md": b"card",
    "data/test.h5": b"frames",
    "evaluation/evaluation.json": b"{}",
}
NEEDED = {"config.json", "dynamics.safetensors", "data/test.h5", "evaluation/evaluation.json"}


def put(hub, name="me/pong", files=WORLD, **settings):
    """A repository with these files in its main branch."""
    import fake_hub

    hub.repositories[name] = fake_hub.Repository(**settings)
    hub.repositories[name].add("main", files)
    return hub.repositories[name]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(name, *words):
    with pytest.raises(UserError) as error:
        located(name)
    message = str(error.value)
    assert "\n" not in message and message.startswith(name) and all(word in message for word in words), message


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://me/pong", Address("me/pong")),
        (Path("hf://me/pong"), Address("me/pong")),
        ("hf://me/pong/", Address("me/pong")),
        ("hf://models/me/pong", Address("me/pong")),
        ("hf://me/pong@v1.2", Address("me/pong", "v1.2")),
        ("hf://me/pong@v1/worlds/a b", Address("me/pong", "v1", "worlds/a b")),
        ("hf://me/pong@refs/pr/3/worlds", Address("me/pong", "refs/pr/3", "worlds")),
        ("hf://me/pong@my%2Fbranch", Address("me/pong", "my/branch")),
        ("hf://me/pong/lam.safetensors", Address("me/pong", None, "lam.safetensors")),
        ("outputs/hf:/me", None),
    ],
)
def test_addresses(text, address):
    assert parsed_address(text) == address
    if address and address.revision != "refs/pr/3":
        assert parsed_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["hf://pong", "hf://me/pong/../x", "hf://../pong", "hf://datasets/me/x", "hf://me/p@", "hf://me/pong/*", "hf://",
     "hf://me/pong//x", "hf://me/..", "hf://.me/pong"],
)  # fmt: skip
def test_what_is_no_address_is_one_line(text):
    refused(text, "hf://user/name")


def test_every_address_has_a_place_of_its_own():
    texts = ["hf://me/pong", "hf://me/pong@v1", "hf://me/pong@my%2Fbranch", "hf://me/pong/v1", "hf://me/pong@v1/a"]
    places = [parsed_address(text).place for text in texts]
    assert len(set(places)) == len(places) and places[0] == PurePosixPath("me/pong")
    assert all(".." not in place.parts and not place.is_absolute() for place in places)


def test_only_what_is_needed_is_downloaded(hub):
    put(hub)
    assert contents(located("hf://me/pong")) == {name: WORLD[name] for name in NEEDED}
    before = len(hub.requests)
    located("hf://me/pong")
    assert len(hub.requests) == before  # looked up once in a process


def test_a_file_alone(hub):
    put(hub)
    file = located("hf://me/pong/dynamics.safetensors")
    assert file.read_bytes() == b"weights" and file.suffix == ".safetensors"
    assert [path.name for path in file.parent.iterdir()] == ["dynamics.safetensors"]


def test_revisions_and_folders(hub):
    repository = put(hub)
    repository.add("v2", {f"small/{name}": content for name, content in WORLD.items()})
    assert set(contents(located("hf://me/pong@v2/small"))) == NEEDED
    refused("hf://me/pong@v3", "no revision v3")
    refused("hf://me/pong/small", "has no small/config.json")


def test_a_newer_version_is_found_by_the_next_process(hub):
    repository = put(hub)
    located("hf://me/pong")
    repository.add("main", WORLD | {"dynamics.safetensors": b"new weights"})
    downloaded.cache_clear()
    assert (located("hf://me/pong") / "dynamics.safetensors").read_bytes() == b"new weights"


@pytest.mark.parametrize("how", ["the server is gone", "offline"])
def test_without_a_network_the_cache_is_used(hub, monkeypatch, how):
    put(hub)
    located("hf://me/pong")
    downloaded.cache_clear()
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        import fake_hub

        fake_hub.point_to(monkeypatch, "http://127.0.0.1:1")
    asked = len(hub.requests)
    assert set(contents(located("hf://me/pong"))) == NEEDED and len(hub.requests) == asked
    word = "HF_HUB_OFFLINE" if how == "offline" else "cannot be reached"
    refused("hf://me/other", "not in the cache", word)


def test_missing_private_and_gated_repositories_are_one_line(hub, monkeypatch):
    put(hub, "me/secret", private=True)
    put(hub, "me/gated", gated=True)
    for name in ("hf://me/nothing", "hf://me/secret"):
        refused(name, "no such repository", "or it is private", "hf auth login")
    refused("hf://me/gated", "grants access", f"{hub.address}/me/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused("hf://me/secret", "your token gives no access")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert set(contents(located("hf://me/secret"))) == NEEDED


@pytest.mark.parametrize("config", [None, b"{}", b"[]", b"damaged", b'{"model_type": "llama", "layers": {"stage": 1}}'])
def test_another_model_is_not_downloaded(hub, config):
    files = {"model.safetensors": b"large"} | ({} if config is None else {"config.json": config})
    put(hub, "me/llama", files)
    refused("hf://me/llama", "no world of genie-world")
    assert not any("model.safetensors" in path for _, path in hub.requests)


def test_a_failing_server_is_one_line(hub):
    put(hub)
    hub.failing = True
    refused("hf://me/pong", hub.address)


def test_without_the_library_is_one_line(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    downloaded.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'genie-world\[hub\]'"):
        located("hf://me/pong")


def test_commands_link_to_the_cache_and_results_stay(hub, tmp_path, monkeypatch):
    repository = put(hub)
    monkeypatch.chdir(tmp_path)
    given = {"run": "hf://me/pong", "stage": {"world": "hf://me/pong@main"}, "data": {"root": "hf://datasets/me/x"}}
    files = {"tokenizer_ckpt": "hf://me/pong/dynamics.safetensors", "act": {"policy": "hf://me/pong"}}
    assert unpacked(given | files) == {
        "run": "outputs/hf/me/pong",
        "stage": {"world": "outputs/hf/me/pong@main"},
        "data": {"root": "hf://datasets/me/x"},  # for the source of the data
        "tokenizer_ckpt": "outputs/hf/me/pong/dynamics.safetensors",
        "act": {"policy": "outputs/hf/me/pong"},
    }
    assert as_typed("outputs/hf/me/pong") == "hf://me/pong"  # where a command says what it loads
    run = Path("outputs/hf/me/pong")
    assert set(contents(run)) == NEEDED and (run / "dynamics.safetensors").is_symlink()
    result = run / "evaluation" / "evaluation.json"
    result.unlink()
    result.write_text('{"measured": "here"}')
    unpacked(given)
    assert "here" in result.read_text()
    repository.add("main", WORLD | {"dynamics.safetensors": b"new weights", "evaluation/evaluation.json": b"[]"})
    downloaded.cache_clear()
    unpacked(given)
    assert (run / "dynamics.safetensors").read_bytes() == b"new weights" and result.read_text() == "[]"


def test_the_commands_need_no_hub_for_other_runs(monkeypatch):
    monkeypatch.setattr(hub_module, "library", lambda: pytest.fail("the library was opened"))
    assert located("outputs/pong") == Path("outputs/pong")
    assert unpacked({"run": "outputs/pong", "act": {"policy": None}}) == {
        "run": "outputs/pong",
        "act": {"policy": None},
    }
