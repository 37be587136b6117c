"""`genie doctor`: what works is said to work, what is missing has its line, what is broken ends with exit code 1."""

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from data_modules.formats import decoding
from genie.common import program
from genie.diagnostics import doctor as report
from genie.diagnostics import machine, packages
from genie.diagnostics.finding import Finding, guarded
from genie.doctor import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def findings():
    """(name: finding) of this machine."""
    return {f"{one.part}.{one.name}": one for one in report.diagnose()}


def test_here_nothing_is_broken(findings):
    assert [one for one in findings.values() if one.status == "broken"] == []
    parts = {name.partition(".")[0] for name in findings}
    assert parts >= {"packages", "devices", "memory", "disk", "video", "drawing", "weights", "worlds", "extras"}


def test_versions_videos_and_the_shipped_world(findings):
    assert findings["packages.torch"].value == metadata.version("torch")
    assert findings["video.encoder"].status == findings["video.pyav"].status == "ok"
    assert "makes a frame" in findings["worlds.pretrained/pong"].value
    assert findings["devices.precision"].value.startswith(("bf16-mixed: ", "32-true: "))


def test_every_extra_has_a_purpose():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(packages.EXTRAS) == sorted({*declared} - {"dev"})
    assert not any("_" in extra for extra in declared)  # which pip before 23.3 does not find in a wheel
    page = (ROOT / "docs" / "install.md").read_text()
    assert all(f"| `{extra}` |" in page for extra in packages.EXTRAS)


def test_what_is_required_is_read_from_the_installed_package():
    names = {one.name for one in packages.required()}
    assert {"torch", "lightning", "hydra-core"} <= names and "wandb" not in names and "ruff" not in names


@pytest.mark.parametrize(
    ("line", "absent"),
    [
        ("numpy>=1.26", []),
        ("numpy>=99", [f"numpy>=99, only {metadata.version('numpy')}"]),
        ("no-such-package", ["no-such-package"]),
        ("hypothesis[no-such-extra]", []),
    ],
)
def test_unmet_requirements(line, absent):
    assert packages.unmet(Requirement(line)) == absent


def test_extras_of_what_is_required_are_looked_at(monkeypatch):
    declared = {"outer": ["inner>=1", 'deep>=2; extra == "more"'], "inner": []}
    monkeypatch.setattr(packages.metadata, "requires", declared.get)
    monkeypatch.setattr(packages.metadata, "version", lambda name: {"outer": "1", "inner": "1", "deep": "1.9"}[name])
    assert packages.unmet(Requirement("outer")) == []
    assert packages.unmet(Requirement("outer[more]")) == ["deep>=2, only 1.9"]


def test_a_missing_extra_has_its_line(monkeypatch):
    monkeypatch.setattr(packages, "unmet", lambda one: ["optuna"] if one.name == "optuna" else [])
    (missing,) = [one for one in packages.extras() if one.name == "sweeps"]
    assert missing.status == "missing" and missing.advice == "pip install 'genie-world[sweeps]'"
    assert "no optuna" in missing.value


def test_a_package_that_cannot_be_imported_is_broken(monkeypatch):
    def imported(name):
        if name == "h5py":
            raise OSError("libhdf5.so: cannot open")

    monkeypatch.setattr(packages.importlib, "import_module", imported)
    broken = [one for one in packages.packages() if one.status == "broken"]
    assert [one.name for one in broken] == ["h5py"] and "libhdf5.so" in broken[0].value
    assert broken[0].advice.startswith("pip install 'h5py>=")


def test_a_foreign_package_is_named(monkeypatch):
    monkeypatch.setattr(packages, "misplaced", lambda: [("conf", Path("/theirs/conf"))])
    monkeypatch.setattr(packages.metadata, "packages_distributions", lambda: {"callbacks": ["other", "genie-world"]})
    assert [(one.name, one.status) for one in packages.own_packages()] == [("conf", "broken"), ("callbacks", "note")]


def test_an_encoder_or_decoder_that_fails_is_found(monkeypatch):
    class Shifted(decoding.PyAVVideo):
        def read(self, numbers):
            yield from (255 - frame for frame in super().read(numbers))

    monkeypatch.setitem(machine.DECODERS, "pyav", Shifted)
    found = {one.name: one for one in machine.videos()}
    assert found["pyav"].status == "broken" and "differ" in found["pyav"].value and found["encoder"].status == "ok"


@pytest.mark.parametrize(
    ("capability", "bf16", "words"), [((8, 0), True, "multiplies in bf16"), ((7, 5), False, "16-mixed")]
)
def test_the_precision_of_a_gpu_has_a_reason(monkeypatch, capability, bf16, words):
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(machine.torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(machine.torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert words in machine.why_precision() and f"{capability[0]}.{capability[1]}" in machine.why_precision()


def test_the_precision_of_a_cpu_has_a_reason(monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine.torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(machine, "CPU_FLAGS", {"AMX": lambda: True, "AVX-512 BF16": lambda: False})
    assert machine.why_precision() == "the CPU multiplies in bf16 (AMX)"
    monkeypatch.setattr(machine, "CPU_FLAGS", {"AMX": lambda: False})
    assert machine.why_precision() == "fp32, for the CPU emulates bf16 (no AMX)"


def test_a_full_disk_is_a_note(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path / "not" / "there"))
    monkeypatch.setattr(machine, "LITTLE_DISK", 2**80)
    here, cache = machine.disk()
    assert here.status == cache.status == "note" and "GENIE_CACHE" in cache.advice and "not/there" in cache.value


def test_an_error_of_a_check_is_a_finding():
    def some_check():
        yield Finding("part", "first", "ok", "")
        raise OSError("a library")

    first, second = guarded("part", some_check)
    assert (second.name, second.status, second.value) == ("some check", "broken", "OSError: a library")
    assert first.status == "ok"


FEW = [Finding("packages", "torch", "ok", "2"), Finding("extras", "slurm", "missing", "jobs", "pip install x")]


def test_the_table_and_json(run_main, monkeypatch):
    def diagnose():
        print("a banner of some package")
        yield from FEW

    monkeypatch.setattr(report, "diagnose", diagnose)
    code, out, err = run_main(main)
    assert code == 0 and "banner" in err and "banner" not in out
    assert "pip install x" in out and "torch" in out
    for argument in ("--json", "json=true"):
        code, out, _ = run_main(main, argument)
        written = json.loads(out)
        assert code == 0 and written["ok"] and written["versions"]["torch"] == metadata.version("torch")
        assert written["findings"][1] == vars(FEW[1])


def test_something_broken_is_exit_code_1(run_main, monkeypatch):
    monkeypatch.setattr(report, "diagnose", lambda: [*FEW, Finding("video", "pyav", "broken", "no codec")])
    code, out, err = run_main(main, "--json")
    assert code == 1 and not json.loads(out)["ok"] and err.startswith("error: broken: pyav;")
    assert run_main(main)[0] == 1


def test_a_checkout_that_is_not_installed(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "requires", missing)
    assert [one.status for one in packages.packages()] == ["ok", "ok", "note"]
    assert list(packages.extras()) == [] and program.HOME == ROOT
