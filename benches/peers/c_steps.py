"""The seed's step in C, by hand, compiled by the system's compiler."""

import json
import pathlib
import subprocess
import tempfile
import time

from measure import arguments

SOURCE = pathlib.Path(__file__).with_name("seed.c")
FLAGS = ["-O3", "-march=native", "-fno-tree-slp-vectorize"]

wanted = arguments(["call", "loop"])
if "seed" in wanted.names:
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "seed"
        started = time.perf_counter()
        subprocess.run(["cc", *FLAGS, SOURCE, "-o", program, "-lm"], check=True)
        compile_ms = (time.perf_counter() - started) * 1e3
        run = subprocess.run([program, wanted.mode], check=True, capture_output=True, text=True)
    print(json.dumps({"work": "seed", "us_per_step": float(run.stdout), "compile_ms": compile_ms}))
