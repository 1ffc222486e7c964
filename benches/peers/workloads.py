"""The models of `benches/workloads` for the peers: the same shapes, rates and losses, on noise."""

import functools

import numpy as np

NAMES = ["seed", "tiny_mlp", "mnist_mlp", "mnist_mlp_adam", "wide_mlp", "gelu_chain", "lenet", "char_gpt", "lstm"]

# Layers of the dense models, batch, learning rate.
DENSE = {
    "tiny_mlp": ([2, 16, 16, 1], 16, 0.01),
    "mnist_mlp": ([784, 128, 10], 64, 0.01),
    "mnist_mlp_adam": ([784, 128, 10], 64, 0.01),
    "wide_mlp": ([512, 1024, 1024, 512], 256, 0.001),
}
RATES = {"seed": 0.01, "gelu_chain": 0.1, "lenet": 0.01, "char_gpt": 1e-3, "lstm": 1e-3}
RATES |= {name: rate for name, (_, _, rate) in DENSE.items()}

# Steps that are trained with Adam; all others with plain SGD.
ADAM = {"mnist_mlp_adam", "char_gpt", "lstm"}
# Models whose loss is cross-entropy with integer targets; that of all others is the mean squared error.
CLASSIFIERS = {"mnist_mlp", "mnist_mlp_adam", "lenet", "char_gpt"}

# char_gpt: width, heads, blocks, length, characters, batch.
WIDTH, HEADS, BLOCKS, LENGTH, CHARACTERS, BATCH = 64, 4, 2, 32, 65, 8

# lstm: turns, batch, inputs, cells.
TURNS, ROWS, INPUTS, CELLS = 50, 16, 32, 64


def rng():
    return np.random.RandomState(0)


def noise(random, *shape, scale=1.0):
    return (random.randn(*shape) * scale).astype(np.float32)


@functools.cache
def data(name):
    """Inputs and targets of a step."""
    r = rng()
    if name == "seed":
        return np.array([0.1, 0.2, 0.3], np.float32), np.array([1.0], np.float32)
    if name == "gelu_chain":
        return noise(r, 1 << 20), noise(r, 1 << 20)
    if name == "lenet":
        return noise(r, 32, 1, 28, 28), r.randint(0, 10, 32)
    if name == "char_gpt":
        tokens = lambda: r.randint(0, CHARACTERS, (BATCH, LENGTH))
        return tokens(), tokens()
    if name == "lstm":
        return noise(r, TURNS, ROWS, INPUTS), noise(r, ROWS, CELLS)
    widths, batch, _ = DENSE[name]
    x = noise(r, batch, widths[0])
    return x, r.randint(0, 10, batch) if name in CLASSIFIERS else noise(r, batch, widths[-1])


@functools.cache
def dense_parameters(name):
    """Weights [in, out] and biases [out] of each layer of a dense model."""
    if name == "seed":
        return [(np.array([[0.4], [0.5], [0.6]], np.float32), np.array([0.1], np.float32))]
    r, widths = rng(), DENSE[name][0]
    layer = lambda k, m: (noise(r, k, m, scale=(2.0 / k) ** 0.5), np.zeros(m, np.float32))
    return [layer(k, m) for k, m in zip(widths, widths[1:])]
