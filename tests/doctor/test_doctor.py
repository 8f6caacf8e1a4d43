# SPDX-License-Identifier: BSD-3-Clause
"""The doctor tells what is wrong: each fault is made in a copy of the package."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import paper_gpu
import pytest

import deepmd_tf
from deepmd_tf import environment_variables
from deepmd_tf.doctor import cubins, installation, machine, selftest, trial
from deepmd_tf.doctor.examine import interpret

ROOT = Path(__file__).resolve().parents[2]
NO_TENSORFLOW = """
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: (
    None if name == "tensorflow" else find(name, *rest)
)
"""
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"


@pytest.fixture
def copy(tmp_path):
    """A folder with a copy of the package, to break."""
    source = Path(deepmd_tf.__file__).parent
    shutil.copytree(source, tmp_path / "deepmd_tf", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def dp(folder, *arguments, **variables):
    """Run dp of the copy."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DP_", "TF_"))}
    environment |= {"PYTHONPATH": str(folder), **variables}
    return subprocess.run(
        [sys.executable, "-m", "deepmd_tf", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


def findings(folder, status, **variables):
    """Findings of the copy by section and name."""
    done = dp(folder, "doctor", "--json", **variables)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["works"] is (status == 0)
    return {(s["title"], f["name"]): f for s in report["sections"] for f in s["findings"]}


def broken(found):
    return [key for key, finding in found.items() if finding["state"] == "broken"]


def test_missing_library(copy):
    (copy / "deepmd_tf/ops/lib/libdeepmd_tf_ops.so").unlink()
    found = findings(copy, 1)
    assert broken(found) == [
        ("Operations", "native operations"),
        ("Operations", "loading of the native operations"),
        ("Self-test", "self-test"),
    ]
    assert "pip install" in found["Operations", "native operations"]["advice"]
    assert found["Operations", "built for"]["state"] == "ok"
    done = dp(copy, "env")
    assert done.returncode == 1
    assert "dp --tf doctor" in done.stderr


@pytest.mark.slow
def test_never_built(copy):
    shutil.rmtree(copy / "deepmd_tf/ops/lib")
    found = findings(copy, 1)
    assert ("Operations", "built for") in broken(found)
    assert ("Operations", "stock operations") in broken(found)


def test_another_tensorflow(copy):
    (copy / "deepmd_tf/ops/lib/build.json").write_text('{"tensorflow": "2.3.4", "stock_ops": []}')
    found = findings(copy, 1)
    assert re.fullmatch(
        r"TensorFlow 2\.3\.4, but 2\.\d+\.\d+ is installed",
        found["Operations", "built for"]["value"],
    )
    assert "tensorflow-cpu==2.3.4" in found["Operations", "built for"]["advice"]
    loading = found["Operations", "loading of the native operations"]
    assert "built against TensorFlow 2.3.4" in loading["advice"]


def test_no_tensorflow(copy):
    (copy / "sitecustomize.py").write_text(NO_TENSORFLOW)
    found = findings(copy, 1)
    assert broken(found) == [
        ("Installed", "TensorFlow"),
        ("Operations", "import of TensorFlow"),
        ("Self-test", "self-test"),
    ]
    assert "tensorflow-cpu>=2.16" in found["Installed", "TensorFlow"]["advice"]
    page = dp(copy, "doctor")
    assert page.returncode == 1
    assert "BROKEN TensorFlow" in page.stdout
    assert page.stdout.splitlines()[-1].startswith("3 broken: TensorFlow, ")


@pytest.mark.parametrize(
    ("program", "value", "advice"),
    [
        (CRASH, "the process was ended by SIGILL", "does not run on this machine"),
        ("raise ImportError('libx.so: not found')", "failed", "libx.so: not found"),
        ("import sys; sys.exit('no')", "the process ended with status 1: no", "does not run"),
    ],
)
def test_tensorflow_does_not_start(copy, program, value, advice):
    (copy / "tensorflow").mkdir()
    (copy / "tensorflow/__init__.py").write_text(program)
    finding = findings(copy, 1)["Operations", "import of TensorFlow"]
    assert finding["value"] == value
    assert advice in finding["advice"]


def test_everything_works(monkeypatch, capsys):
    """On the installation that the tests run in, through the page as it is piped."""
    from deepmd_tf.cli.main import main

    for name in list(os.environ):
        if name.startswith("DP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DP_INTRA_OP_PARALELISM_THREADS", "2")
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    assert "\x1b" not in page
    assert re.search(
        r"^  NOTE   DP_INTRA_OP_PARALELISM_THREADS +2\n +nobody reads it; did you mean "
        r"DP_INTRA_OP_PARALLELISM_THREADS\?$",
        page,
        re.MULTILINE,
    )
    assert "instructions" in page
    assert re.search(r"^  OK     time +[\d.]+ ms for energy and forces of 192", page, re.MULTILINE)
    assert "BROKEN" not in page


def test_wrong_numbers_are_found(monkeypatch):
    wrong = [selftest.Deviation("energy", 1e-3, 1e-8), selftest.Deviation("force", 1e-12, 1e-8)]
    monkeypatch.setattr(selftest, "measures", lambda: wrong)
    checks, passed = trial.attempt("self-test")
    assert passed
    assert [(section, c.name, c.value, c.state) for section, c in checks] == [
        ("Self-test", "energy", "1.0e-03 (at most 1e-08)", "broken"),
        ("Self-test", "force", "1.0e-12 (at most 1e-08)", "ok"),
    ]


def test_a_crash_after_some_steps():
    output = "".join(json.dumps([step, []]) + "\n" for step in list(trial.STEPS)[:4])
    ((section, check),) = interpret("noise\n" + output, "the process was ended by SIGSEGV")
    assert (section, check.name, check.state) == ("Self-test", "timing", "broken")
    assert check.value == "the process was ended by SIGSEGV"


def test_measures_see_a_wrong_force(monkeypatch):
    """The self-test fails for a model whose forces are not the derivative of its energy."""
    build = selftest._build

    def wrong(config, inputs, parameters, dialect, first=None):
        out = build(config, inputs, parameters, dialect, first)
        return out if dialect != "native" else dataclasses.replace(out, force=out.force * 1.001)

    monkeypatch.setattr(selftest, "_build", wrong)
    failed = {m.name for m in selftest.measures() if m.error > m.limit}
    assert failed == {
        "force against plain TensorFlow",
        "force against stock operations",
        "force against changes of the energy",
    }


def test_variables():
    found = machine.variables(
        {"DP_JIT": "1", "DP_PLUGIN_PATH": "/no/such/lib.so:bare.so", "DP_X": "y", "HOME": "/"}
    )
    by_state = {(f.name, f.state): f for f in found}
    assert "without effect here" in by_state["DP_JIT", ""].value
    assert "/no/such/lib.so, which does not exist" in by_state["DP_PLUGIN_PATH", "broken"].value
    assert by_state["DP_X", "note"].advice.startswith("nobody reads it")
    assert "HOME" not in {f.name for f in found}


def test_variables_are_documented():
    page = (ROOT / "doc/reference/variables.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([A-Z_]+)`", page))
    here = {name for name in environment_variables.HERE if name != "CUDA_VISIBLE_DEVICES"}
    assert here <= documented
    runtime = {n for n in documented if n.startswith("DP_")}
    assert runtime <= set(environment_variables.HERE) | set(environment_variables.ELSEWHERE)


def test_lines_for_the_shell(capsys):
    from deepmd_tf.cli.main import main

    assert main(["env"]) == 0
    lines = capsys.readouterr().out
    done = subprocess.run(
        ["bash", "-uc", f"{lines}\necho $DP_PLUGIN_PATH; {lines}\necho $DP_PLUGIN_PATH"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    first, second = done.stdout.splitlines()
    assert Path(first).is_file()
    assert second == f"{first}:{first}"


def test_dependencies_are_those_of_the_package():
    needed, wanted = installation.dependencies()
    assert {"numpy", "scipy", "h5py", "pydantic", "matplotlib"} <= set(needed)
    assert {"ase", "dpdata", "phonopy"} == set(wanted)
    assert not [name for name in needed + wanted if "tensorflow" in name or name == "pytest"]


def test_gpu_of_the_machine(copy, tmp_path):
    """Driver, card, compiler and libraries, made by the tests of the runtime of CUDA."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "sort-float-sm_90-0123456789abcdef.cubin").write_bytes(bytes(2_500_000))
    folder = paper_gpu.build("use_cuda") / "fake_cuda"
    settings = {
        "LD_LIBRARY_PATH": str(folder),
        "DEEPMD_TF_CACHE": str(cache),
        "FAKE_CUDA": "card=61",
    }
    found = findings(copy, 1, DEEPMD_TF_DEVICE="gpu", **settings)
    machine_lines = {name: f for (section, name), f in found.items() if section == "Machine"}
    assert machine_lines["device"]["state"] == "broken"
    assert "DEEPMD_TF_DEVICE is gpu, but" in machine_lines["device"]["advice"]
    assert machine_lines["driver"]["value"] == "for CUDA 12.4 and older"
    assert machine_lines["card"]["state"] == "note"
    assert "Paper 100, sm_61, 81920 MiB: too old" in machine_lines["card"]["advice"]
    assert machine_lines["NVRTC"]["value"] == f"12.3 ({folder}/libnvrtc.so.12)"
    assert machine_lines["cuBLAS"]["value"] == f"{folder}/libcublas.so.12"
    assert machine_lines["compiled kernels"]["value"] == f"1 file, 2.5 MB, in {cache}"


@pytest.mark.parametrize("with_folder", [True, False])
def test_clear_cache(monkeypatch, capsys, tmp_path, with_folder):
    from deepmd_tf.cli.main import main

    monkeypatch.setenv("DEEPMD_TF_CACHE", str(tmp_path / "cache"))
    names = ["a.cubin", "a.cubin.node7.12.0.part", "a.cubin.log", "mine.log"]
    if with_folder:
        (tmp_path / "cache").mkdir()
        for name in names:
            (tmp_path / "cache" / name).write_bytes(bytes(500_000))
    assert main(["doctor", "--clear-cache"]) == 0
    n = "3 files, 1.5 MB" if with_folder else "0 files, 0.0 MB"
    assert capsys.readouterr().out == f"removed {n}, in {tmp_path / 'cache'}\n"
    left = [path.name for path in tmp_path.glob("cache/*")]
    assert left == (["mine.log"] if with_folder else [])


@pytest.mark.parametrize(
    "variables",
    [
        {"HOME": "/h"},
        {"HOME": "/h", "XDG_CACHE_HOME": "/x"},
        {"HOME": "/h", "XDG_CACHE_HOME": "/x", "DEEPMD_TF_CACHE": "/y/z"},
        {},
        {"HOME": "", "XDG_CACHE_HOME": "", "DEEPMD_TF_CACHE": ""},
    ],
)
def test_cache_folder_is_that_of_the_library(monkeypatch, variables):
    for name in ("HOME", "XDG_CACHE_HOME", "DEEPMD_TF_CACHE"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [paper_gpu.build("use_cuda") / "use_cuda", "describe"],
        env=variables,
        capture_output=True,
        text=True,
    )
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    expected = cubins.cache_folder()
    assert f"cache\t{'' if expected is None else expected}" in done.stdout.splitlines()
