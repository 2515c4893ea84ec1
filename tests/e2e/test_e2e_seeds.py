"""Jobs of docs/seeds.md run by their one command."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_forest_and_a_hand_drawn_digit() -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "scripts/seeds", "3", "6"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert "450 requests of 8 threads over one session, all right" in ended.stdout
    assert "mnist_3.png in, 'three' out" in ended.stdout
