"""Command line, timing and reports, the same for every peer."""

import argparse
import json
import statistics
import time

from workloads import NAMES, data


def arguments(modes):
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mode", choices=modes, default=modes[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parsed = parser.parse_args()
    parsed.names = parsed.names or NAMES
    return parsed


def seconds(step, inner, budget=1.0):
    """The median time of a step over repeated batches of calls; one call runs `inner` steps and waits for them."""
    for _ in range(3):
        step()
    started = time.perf_counter()
    step()
    batch = max(1, int(0.02 / max(time.perf_counter() - started, 1e-9)))
    times, deadline = [], time.perf_counter() + budget
    while len(times) < 5 or time.perf_counter() < deadline:
        started = time.perf_counter()
        for _ in range(batch):
            step()
        times.append((time.perf_counter() - started) / batch / inner)
    return statistics.median(times)


def measure(name, build, inner=1):
    """Prints one line: `build` gives the step; building it and its first call, which compiles, are timed apart."""
    data(name)
    try:
        started = time.perf_counter()
        step = build(name)
        step()
        first = time.perf_counter() - started
        line = {"us_per_step": seconds(step, inner) * 1e6, "compile_ms": first * 1e3}
    except Exception as error:  # one model that fails must not hide the others
        line = {"error": f"{type(error).__name__}: {error}"[:200]}
    print(json.dumps({"work": name} | line), flush=True)
