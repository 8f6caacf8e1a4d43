# SPDX-License-Identifier: BSD-3-Clause
"""The build and the loading of the operation libraries, and what is said when they do not fit."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tensorflow as tf

from deepmd_tf import compiled, environment_variables
from deepmd_tf.errors import InstallError
from deepmd_tf.ops import library

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaders that have loaded nothing yet; afterwards the process has what it had."""
    for name in ("native", "stock", "tensorflow"):
        loader = getattr(library, name)
        monkeypatch.setattr(library, name, functools.cache(loader.__wrapped__))


def build_support(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "build_support" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Finding TensorFlow -------------------------------------------------------------------------------


def test_tensorflow_is_found_without_importing_it() -> None:
    found = build_support("find_tensorflow").find()
    assert found.root == Path(tf.__file__).resolve().parent
    assert found.version == tf.__version__
    assert found.include == Path(tf.sysconfig.get_include()).resolve()
    assert found.library.name in " ".join(tf.sysconfig.get_link_flags())


def test_compile_flags_are_those_of_tensorflow() -> None:
    """CMake has them in writing, since asking would mean to import."""
    written = (ROOT / "source" / "op" / "CMakeLists.txt").read_text()
    for flag in tf.sysconfig.get_compile_flags():
        if flag.startswith("-D"):
            assert flag.removeprefix("-D") in written
        else:
            assert flag.startswith("-I") or flag == "--std=c++17"


def test_version_of_headers_without_a_distribution(tmp_path: Path) -> None:
    headers = tmp_path / "tensorflow" / "include" / "tensorflow" / "core" / "public"
    headers.mkdir(parents=True)
    numbers = {"MAJOR": 2, "MINOR": 16, "PATCH": 1}
    text = "\n".join(f"#define TF_{part}_VERSION {n}" for part, n in numbers.items())
    (headers / "version.h").write_text(text)
    find_tensorflow = build_support("find_tensorflow")
    assert find_tensorflow.inspect(tmp_path / "tensorflow") is None
    (tmp_path / "tensorflow" / "libtensorflow_framework.so.2").touch()
    assert find_tensorflow.inspect(tmp_path / "tensorflow").version == "2.16.1"


def test_the_user_may_say_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_tensorflow = build_support("find_tensorflow")
    monkeypatch.setenv(find_tensorflow.OVERRIDE, str(tmp_path))
    with pytest.raises(SystemExit, match="TensorFlow package"):
        find_tensorflow.find()


def test_tensorflow_is_required_for_the_build_only_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "build_support"))
    monkeypatch.chdir(ROOT)
    backend = build_support("backend")
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_wheel", lambda _: ["x"])
    assert backend.get_requires_for_build_wheel() == ["x"]
    monkeypatch.setattr(backend, "find", lambda **_: None)
    assert backend.get_requires_for_build_wheel() == ["x", *backend.REQUIREMENTS]


# What is installed --------------------------------------------------------------------------------


def test_record_of_the_build() -> None:
    record = json.loads((library.LIBRARY_FOLDER / "build.json").read_text())
    assert record["tensorflow"] == tf.__version__
    assert record["stock_ops"]
    for name in record["stock_ops"]:
        assert callable(getattr(library.stock(), library._snake(name)))


def test_every_op_is_documented_and_has_a_shape_function() -> None:
    for source in sorted((ROOT / "source" / "op").rglob("*.cc")):
        text = source.read_text()
        counts = {part: text.count(part) for part in ("REGISTER_OP(", ".SetShapeFn(", ".Doc(R")}
        # An older name of an operation has the signature, shape function included, of the newer.
        counts["REGISTER_OP("] -= text.count('.Doc("Older name of ')
        # Operations of one macro share its shape function.
        uses = re.findall(
            r"^(?:REGISTER_OP\(\S+\)\s+)?([A-Z_]+_SIGNATURE)[ .](?!.*Older)", text, re.M
        )
        counts[".SetShapeFn("] += len(uses) - len(set(uses))
        assert len(set(counts.values())) == 1 and counts["REGISTER_OP("] > 0, (source, counts)


def camel(name: str) -> str:
    return "k" + "".join(word.capitalize() for word in name.split("_"))


def test_inputs_and_outputs_have_the_names_of_their_registration() -> None:
    """An enumeration stands before its registration; nothing counts inputs by numbers."""
    seen = 0
    for source in sorted((ROOT / "source" / "op").rglob("*.cc")):
        text = source.read_text()
        assert not re.search(r"\binput\(\d+\)", text), source
        for found in re.finditer(r"struct (\w+)(In|Out) \{\s*enum \{([^}=]*)\};\s*\};", text):
            signature = text[found.end() : text.index(".SetShapeFn(", found.end())]
            kind = {"In": "Input", "Out": "Output"}[found[2]]
            registered = re.findall(rf'\.{kind}\("(\w+): ([^"]*)"\)', signature)
            # what comes after a list has no fixed number
            lists = [k for k, (_, dtype) in enumerate(registered) if "*" in dtype]
            registered = registered[: lists[0] + 1] if lists else registered
            names = [name.strip() for name in found[3].split(",")]
            assert names == [camel(name) for name, _ in registered], (source, found[1])
            seen += 1
    assert seen >= 20


def test_environment_variables_of_the_libraries_are_those_of_the_package() -> None:
    """C++ and Python have a list each."""
    read = set()
    for source in sorted((ROOT / "source").rglob("*")):
        if source.suffix in (".cc", ".h") and "tests" not in source.parts[-3:]:
            read |= set(re.findall(r'"((?:DP|DEEPMD)_[A-Z_]+)"', source.read_text()))
    known = {
        environment_variables.MISSING_NEIGHBORS,
        environment_variables.CLOSE_ATOMS,
        environment_variables.INSTRUCTIONS,
        environment_variables.DEVICE,
        environment_variables.CACHE,
        environment_variables.GPU_RUNTIME,
    }
    assert read == known <= {*environment_variables.HERE, *environment_variables.ELSEWHERE}


def run_python(code: str, folder: Path) -> tuple[str, str]:
    """What a new process prints; away from the checkout, which is not what is installed."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


def test_importing_the_package_does_not_import_tensorflow(tmp_path: Path) -> None:
    code = "import sys, deepmd_tf, deepmd_tf.errors; print('tensorflow' in sys.modules)"
    assert run_python(code, tmp_path)[0] == "False"


def test_loading_is_quiet(tmp_path: Path) -> None:
    code = "from deepmd_tf.ops import library; library.native(); library.stock()"
    assert run_python(code, tmp_path) == ("", "")


def test_code_for_one_processor_does_not_leak_into_others() -> None:
    """A weak function outside of the namespace of its instruction set may be used by the others."""
    objects = sorted((ROOT / "build").glob("*/core/CMakeFiles/core_cpu_avx*.dir/cpu/*.o"))
    if not objects or shutil.which("nm") is None:
        pytest.skip("there is no build tree here")
    for path in objects:
        isa = path.parents[1].name.removeprefix("core_cpu_").removesuffix(".dir")
        symbols = subprocess.run(
            ["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True
        ).stdout
        for line in symbols.splitlines():
            kind, name = line.split(maxsplit=2)[1:]
            if kind in "TWu" and not name.startswith("DW.ref"):
                assert f"deepmd::{isa}::" in name, f"{path.name}: {name}"


# Messages -----------------------------------------------------------------------------------------


def test_no_tensorflow(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InstallError, match='"tensorflow-cpu>='):
        library.native()


@pytest.mark.parametrize("load", ["native", "stock"])
def test_no_library(
    fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, load: str
) -> None:
    for module in (library, compiled):
        monkeypatch.setattr(module, "LIBRARY_FOLDER", tmp_path)
    with pytest.raises(InstallError, match=r"operations are missing .* Build them: pip install"):
        getattr(library, load)()


def test_another_tensorflow(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out before the library is touched: loading it could crash."""
    monkeypatch.setattr(library, "build_record", lambda: {"tensorflow": "2.3.4"})
    monkeypatch.setattr(tf, "load_op_library", lambda _: pytest.fail("the library was loaded"))
    message = rf"built against TensorFlow 2\.3\.4, but TensorFlow {tf.__version__} is running"
    with pytest.raises(InstallError, match=message + r"\. Build them again: pip install"):
        library.native()


def test_another_patch_release_is_fine(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    series = ".".join(tf.__version__.split(".")[:2])
    monkeypatch.setattr(library, "build_record", lambda: {"tensorflow": f"{series}.99"})
    assert callable(library.native().dp_gather_pairs)


def test_undefined_symbol(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "broken.cc"
    source.write_text(
        "extern int _ZN10tensorflow7missingEv(); int f = _ZN10tensorflow7missingEv();"
    )
    command = ["g++", "-shared", "-fPIC", str(source), "-o", str(tmp_path / "libdeepmd_tf_ops.so")]
    subprocess.run(command, check=True)
    shutil.copy(library.LIBRARY_FOLDER / "build.json", tmp_path)
    monkeypatch.setattr(library, "LIBRARY_FOLDER", tmp_path)
    with pytest.raises(InstallError, match=r"do not load .* another build .* Build them again"):
        library.native()


def test_half_a_library(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libdeepmd_tf_ops.so").write_bytes(b"\x7fELF")
    shutil.copy(library.LIBRARY_FOLDER / "build.json", tmp_path)
    monkeypatch.setattr(library, "LIBRARY_FOLDER", tmp_path)
    with pytest.raises(InstallError, match="do not load"):
        library.native()


def test_names_of_functions() -> None:
    assert library._snake("ProdEnvMatA") == "prod_env_mat_a"
    assert library._snake("TabulateFusionSeAGradGrad") == "tabulate_fusion_se_a_grad_grad"
    assert library._snake("UnaggregatedDy2DxS") == "unaggregated_dy2_dx_s"
