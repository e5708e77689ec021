"""The built wheel works outside the repository, with its configuration inside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command, cwd, **env):
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_trains_from_an_empty_folder(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT), cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
    run(*pip, cwd=tmp_path)
    assert {path.name for path in (site / "bagoftricks/report/page").glob("*.[cj]s*")} == {
        "page.css",
        "page.js",
        "live.js",
    }
    where = run(
        sys.executable, "-c", "import bagoftricks; print(bagoftricks.__file__)", cwd=empty, PYTHONPATH=str(site)
    )
    assert where.startswith(str(site))
    out = run(
        sys.executable, "-m", "bagoftricks.cli.train", "+tweak=resnet_d", "epochs=1", cwd=empty, PYTHONPATH=str(site)
    )
    assert "resnet_d" in out
    assert [path.name for path in empty.iterdir()] == ["results"]
