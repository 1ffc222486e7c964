"""Runs our benchmark and whichever peers are installed on the same steps, and prints them side by side."""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys

from workloads import NAMES

HERE = pathlib.Path(__file__).parent

# Column, package or compiler, script, mode, whether a call runs many steps.
PEERS = [
    ("PyTorch eager", "torch", "torch_steps.py", "eager", "call"),
    ("torch.compile", "torch", "torch_steps.py", "compile", "call"),
    ("JAX jit", "jax", "jax_steps.py", "jit", "call"),
    ("JAX scan", "jax", "jax_steps.py", "scan", "loop"),
    ("PyTensor", "pytensor", "pytensor_steps.py", "numba", "call"),
    ("CasADi f64", "casadi", "casadi_steps.py", "gcc", "call"),
    ("C by hand", "cc", "c_steps.py", "call", "call"),
    ("C loop by hand", "cc", "c_steps.py", "loop", "loop"),
]
CARGO = ["cargo", "bench", "--bench", "training_steps"]
OURS = {"call": "Hitofude", "loop": "Hitofude loop"}


def is_there(package):
    return version(package) is not None or shutil.which(package) is not None


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def lines(command, threads):
    """The JSON lines of a command, run on the first `threads` cores."""
    count = str(threads)
    environment = os.environ | {
        name: count for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    }
    if threads == 1:
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    pin = None
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        pin = lambda: os.sched_setaffinity(0, cores)
    run = subprocess.run(command, env=environment, preexec_fn=pin, capture_output=True, text=True, cwd=HERE)
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{' '.join(map(str, command))} failed: {last}", file=sys.stderr)
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def measure(names, threads, compile_too):
    """One round: the results as {column: {work: line}}, and the peers that are missing."""
    results, missing = {}, []
    for line in lines([*CARGO, "--", "--json", "--threads", str(threads), *names], threads):
        results.setdefault(OURS[line["mode"]], {})[line["work"]] = line
    for column, package, script, mode, _ in PEERS:
        if not is_there(package):
            missing.append(column)
        elif mode != "compile" or compile_too:
            command = [sys.executable, HERE / script, "--threads", str(threads), "--mode", mode, *names]
            found = {line["work"]: line for line in lines(command, threads)}
            for line in found.values():
                if "error" in line:
                    print(f"{column}, {line['work']}: {line['error']}", file=sys.stderr)
            results[column] = found
    return results, missing


def medians(rounds):
    """Of several rounds' results, the median of each number: each round starts every process anew."""
    merged = {}
    for column, work in dict.fromkeys((column, work) for one in rounds for column in one for work in one[column]):
        found = [one[column][work] for one in rounds if work in one.get(column, {})]
        numbers = {field: [line[field] for line in found if field in line] for field in ("us_per_step", "compile_ms")}
        merged.setdefault(column, {})[work] = {
            field: statistics.median(values) for field, values in numbers.items() if values
        }
    return merged


def microseconds(line):
    return None if line is None else line.get("us_per_step")


def text(us):
    if us is None:
        return "–"
    return f"{us:,.0f}" if us >= 1000 else f"{us:.3g}" if us >= 0.1 else f"{us:.4f}"


def ratio(results, work, mode):
    """The fastest peer's time over ours, among those that are run in this mode."""
    ours = microseconds(results.get(OURS[mode], {}).get(work))
    peers = [results.get(peer[0], {}).get(work) for peer in PEERS if peer[4] == mode]
    times = [us for us in map(microseconds, peers) if us is not None]
    return f"{min(times) / ours:.2f}×" if ours and times else "–"


def table(results, names):
    columns = [column for column in [*OURS.values(), *(peer[0] for peer in PEERS)] if column in results]
    header = ["µs a step", *columns, "fastest peer / ours, called", "fastest peer / ours, looped"]
    rows = [
        [name, *(text(microseconds(results[column].get(name))) for column in columns),
         ratio(results, name, "call"), ratio(results, name, "loop")]
        for name in names
    ]
    compiled = [
        [name, *(f"{line['compile_ms']:,.1f}" if "compile_ms" in (line := results[column].get(name, {})) else "–"
                 for column in columns if column != OURS["loop"])]
        for name in names
    ]
    compile_header = ["ms to the first step", *(column for column in columns if column != OURS["loop"])]
    return [header, *rows], [compile_header, *compiled]


def as_text(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    cell = lambda i, value: value.ljust(widths[0]) if i == 0 else value.rjust(widths[i])
    return "\n".join("  ".join(cell(i, value) for i, value in enumerate(row)) for row in rows)


def as_markdown(rows):
    line = lambda row: "| " + " | ".join(row) + " |"
    return "\n".join([line(rows[0]), line(["---", *["---:"] * (len(rows[0]) - 1)]), *map(line, rows[1:])])


def machine():
    """Processor, cores and the vector instructions it has."""
    name, flags = platform.processor() or platform.machine(), ""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields = dict(
            (part.strip() for part in line.split(":", 1)) for line in cpuinfo.read_text().splitlines() if ":" in line
        )
        name = fields.get("model name", name)
        known = fields.get("flags", "").split()
        flags = ", ".join(flag for flag in ("avx", "fma", "avx2", "avx512f") if flag in known)
    return f"{name}, {os.cpu_count()} cores" + (f" ({flags})" if flags else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="times to run everything, in turn; the medians count")
    parser.add_argument("--markdown", action="store_true", help="tables for a README")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    names = options.names or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(NAMES)}")
    # Built first, on every core.
    subprocess.run([*CARGO, "--no-run"], cwd=HERE, check=True)
    rounds = [measure(names, options.threads, options.compile) for _ in range(max(options.rounds, 1))]
    results, missing = medians([one for one, _ in rounds]), rounds[0][1]
    render = as_markdown if options.markdown else as_text
    for rows in table(results, names):
        print(render(rows), end="\n\n")
    print(f"{machine()}; threads: {options.threads}; rounds: {len(rounds)}; {datetime.date.today()}")
    packages = dict.fromkeys(peer[1] for peer in PEERS)
    print(", ".join(f"{package} {version(package)}" for package in packages if version(package)))
    if missing:
        print(f"Not installed: {', '.join(missing)}")


if __name__ == "__main__":
    main()
