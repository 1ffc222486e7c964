"""Runs our benchmark of single operators and JAX on the same, and prints them side by side."""

import argparse
import json
import os
import subprocess
import sys
import time

from compare import HERE, as_markdown, as_text, lines, machine, text

WIDE = 1 << 20


def cases():
    """Names, functions and the shapes of their operands; a shape in a set is one of indices."""
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import erfinv

    key = jax.random.key(0)
    twice = lambda *axes: lambda x: x.transpose(axes) * 2
    return {
        "exp": (jnp.exp, [WIDE]),
        "tanh": (jnp.tanh, [WIDE]),
        "sin": (jnp.sin, [WIDE]),
        "tan": (jnp.tan, [WIDE]),
        "asin": (jnp.arcsin, [WIDE]),
        "atan2": (jnp.arctan2, [WIDE], [WIDE]),
        "pow": (lambda x, y: jnp.abs(x) ** y, [WIDE], [WIDE]),
        "erf_inv": (erfinv, [WIDE]),
        "normal": (lambda: jax.random.normal(key, (WIDE,)),),
        "dropout": (lambda x: jnp.where(jax.random.bernoulli(key, 0.9, x.shape), x / 0.9, 0), [WIDE]),
        "transpose": (lambda x, y: x.T + y, [2048, 1024], [1024, 2048]),
        "transpose_1000": (twice(1, 0), [1000, 1000]),
        "permute": (twice(2, 1, 0), [64, 128, 256]),
        "channels_last": (twice(0, 2, 3, 1), [8, 64, 56, 56]),
        "channels_first": (twice(0, 3, 1, 2), [8, 224, 224, 3]),
        "heads": (twice(0, 2, 1, 3), [8, 128, 8, 64]),
        "roll": (lambda x: jnp.roll(x, 1, 0) - jnp.roll(x, -1, 1), [1024, 1024]),
        "sum_all": (jnp.sum, [2048, 2048]),
        "sum_rows": (lambda x: x.sum(1), [2048, 2048]),
        "sum_columns": (lambda x: x.sum(0), [2048, 2048]),
        "sum_short_rows": (lambda x: x.sum(1), [500_000, 8]),
        "sum_across": (lambda x: (x * x.T).sum(), [1024, 1024]),
        "variance_columns": (lambda x: x.var(0), [10_000, 100]),
        "argmax_rows": (lambda x: x.argmax(1), [1000, 1000]),
        "argmax_columns": (lambda x: x.argmax(0), [2048, 2048]),
        "cumsum_rows": (lambda x: jnp.cumsum(x, 1), [1000, 1000]),
        "cumsum_columns": (lambda x: jnp.cumsum(x, 0), [1000, 1000]),
        "softmax": (lambda x: jax.nn.softmax(x, 1), [1024, 1024]),
        "softmax_short": (lambda x: jax.nn.softmax(x, 1), [200_000, 8]),
        "sort": (lambda x: jnp.sort(x, 1), [1000, 1000]),
        "top_k": (lambda x: jax.lax.top_k(x, 10)[0], [1000, 1000]),
        "take": (lambda x, i: jnp.take(x, i, 0, mode="clip"), [10_000, 64], {20_000}),
        "one_hot": (lambda i: jax.nn.one_hot(i, 100), {10_000}),
        "pairwise": (lambda x, y: ((x - y) ** 2).sum(2), [1000, 1, 16], [1, 1000, 16]),
        "matmul": (jnp.matmul, [1000, 1000], [1000, 1000]),
        "matmul_short": (jnp.matmul, [4096, 8, 8], [4096, 8, 8]),
        "matmul_heads": (jnp.matmul, [64, 128, 64], [64, 64, 128]),
        "matrix_vector": (jnp.matmul, [4096, 4096], [4096, 1]),
        "vector_matrix": (lambda x, y: y @ x, [4096, 4096], [1, 4096]),
    }


def measure(names):
    """Prints one line an operator."""
    import jax
    import numpy as np

    noise = np.random.default_rng(0)
    for name, (function, *shapes) in cases().items():
        if names and name not in names:
            continue
        operands = [
            noise.integers(0, 10_000, tuple(shape)).astype(np.int32) if isinstance(shape, set)
            else noise.uniform(-1, 1, shape).astype(np.float32)
            for shape in shapes
        ]
        operands = jax.device_put(operands)
        compiled = jax.jit(function)
        run = lambda: jax.block_until_ready(compiled(*operands))
        run()
        times, deadline = [], time.perf_counter() + 0.3
        while len(times) < 5 or time.perf_counter() < deadline:
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        print(json.dumps({"work": name, "us": sorted(times)[len(times) // 2] * 1e6}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="a table for a README")
    parser.add_argument("--jax", action="store_true", help=argparse.SUPPRESS)  # the half that is run apart
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    if options.jax:
        return measure(options.names)
    cargo = ["cargo", "bench", "--bench", "operators"]
    subprocess.run([*cargo, "--no-run"], cwd=HERE, check=True)
    ours, jax = (
        {line["work"]: line["us"] for line in lines([*command, *options.names], options.threads)}
        for command in (
            [*cargo, "--", "--json", "--threads", str(options.threads)],
            [sys.executable, os.path.abspath(__file__), "--jax"],
        )
    )
    ratio = lambda name: f"{jax[name] / us:.2f}×" if (us := ours[name]) and name in jax else "–"
    rows = [[name, text(us), text(jax.get(name)), ratio(name)] for name, us in ours.items()]
    print((as_markdown if options.markdown else as_text)([["µs a call", "Hitofude", "JAX", "JAX / ours"], *rows]))
    print(f"\n{machine()}; threads: {options.threads}")


if __name__ == "__main__":
    main()
