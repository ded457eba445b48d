"""The notebooks by nbval, with the parameters in their own cells: they pass, and give what the runner gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_nbval_passes_every_notebook_and_its_figures_are_the_runners_to_the_byte(request, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"DFUTILS_HOME": str(tmp_path), "DFUTILS_BATCH": "1"}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", str(ROOT / "notebooks")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    tiny_home = request.getfixturevalue("tiny_home")  # not before: another process may be making it meanwhile
    first, second = (
        json.loads((folder / "reports" / "tiny" / "metrics.json").read_text(encoding="utf-8"))
        for folder in (tiny_home, tmp_path)
    )
    for written in (first, second):
        written["made_by"].pop("commit")  # somebody may commit while the tests run
    assert first == second
    weights = [folder / "runs" / "tiny" / "detector" / "model.safetensors" for folder in (tiny_home, tmp_path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
