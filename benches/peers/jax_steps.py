"""Training steps in JAX: one step a call under `jit`, or many steps as one `scan`."""

import jax
import jax.numpy as jnp
import numpy as np

import workloads as w
from measure import arguments, measure


def dense(layer, x):
    return x @ layer[0] + layer[1]


def norm(layer, x):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * layer[0] + layer[1]


def linear(r, k, m):
    return w.noise(r, k, m, scale=k**-0.5), np.zeros(m, np.float32)


def mlp(name):
    activation = jnp.tanh if name == "tiny_mlp" else jax.nn.relu

    def forward(layers, x):
        for layer in layers[:-1]:
            x = activation(dense(layer, x))
        return dense(layers[-1], x)

    return w.dense_parameters(name), forward


def gelu_chain():
    return w.noise(w.rng(), 1 << 20), lambda p, x: jax.nn.gelu(p * x, approximate=True)


def lenet():
    r = w.rng()
    kernel = lambda m, k: (w.noise(r, m, k, 5, 5, scale=(25 * k) ** -0.5), np.zeros((m, 1, 1), np.float32))
    parameters = [kernel(6, 1), kernel(16, 6), linear(r, 400, 120), linear(r, 120, 84), linear(r, 84, 10)]

    def convolve(layer, x, padding):
        x = jax.nn.relu(jax.lax.conv_general_dilated(x, layer[0], (1, 1), padding) + layer[1])
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def forward(p, x):
        x = convolve(p[1], convolve(p[0], x, "SAME"), "VALID").reshape(x.shape[0], -1)
        return dense(p[4], jax.nn.relu(dense(p[3], jax.nn.relu(dense(p[2], x)))))

    return parameters, forward


def char_gpt():
    r, width = w.rng(), w.WIDTH
    ones = lambda: (np.ones(width, np.float32), np.zeros(width, np.float32))
    block = lambda: dict(
        norm1=ones(), qkv=linear(r, width, 3 * width), out=linear(r, width, width),
        norm2=ones(), up=linear(r, width, 4 * width), down=linear(r, 4 * width, width),
    )
    parameters = dict(
        tokens=w.noise(r, w.CHARACTERS, width), positions=w.noise(r, w.LENGTH, width),
        blocks=[block() for _ in range(w.BLOCKS)], norm=ones(), head=linear(r, width, w.CHARACTERS),
    )
    mask = np.tril(np.ones((w.LENGTH, w.LENGTH), bool))

    def attend(p, h):
        split = lambda part: part.reshape(w.BATCH, w.LENGTH, w.HEADS, width // w.HEADS).transpose(0, 2, 1, 3)
        q, k, v = map(split, jnp.split(dense(p["qkv"], h), 3, -1))
        scores = q @ k.swapaxes(-1, -2) / np.float32((width // w.HEADS) ** 0.5)
        mixed = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)) @ v
        return dense(p["out"], mixed.transpose(0, 2, 1, 3).reshape(h.shape))

    def forward(p, x):
        h = p["tokens"][x] + p["positions"]
        for b in p["blocks"]:
            h = h + attend(b, norm(b["norm1"], h))
            h = h + dense(b["down"], jax.nn.gelu(dense(b["up"], norm(b["norm2"], h)), approximate=True))
        return dense(p["head"], norm(p["norm"], h))

    return parameters, forward


def lstm():
    r = w.rng()
    parameters = linear(r, w.INPUTS, 4 * w.CELLS), w.noise(r, w.CELLS, 4 * w.CELLS, scale=w.CELLS**-0.5)

    def forward(p, x):
        def turn(carry, x):
            h, cell = carry
            i, f, g, o = jnp.split(dense(p[0], x) + h @ p[1], 4, -1)
            cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(cell), cell), None

        start = jnp.zeros((w.ROWS, w.CELLS), jnp.float32)
        return jax.lax.scan(turn, (start, start), x)[0][0]

    return parameters, forward


MODELS = {"gelu_chain": gelu_chain, "lenet": lenet, "char_gpt": char_gpt, "lstm": lstm}


def cross_entropy(logits, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1).mean()


def mean_squared_error(output, y):
    return jnp.square(output - y).mean()


def adam(p, gradient, slots, rate):
    m, v, t = slots
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
    c1, c2 = 1 - 0.9**t, 1 - 0.999**t
    return jax.tree.map(lambda p, m, v: p - rate * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), p, m, v), (m, v, t)


def sgd(p, gradient, slots, rate):
    return jax.tree.map(lambda p, g: p - rate * g, p, gradient), slots


def build(name):
    parameters, forward = MODELS[name]() if name in MODELS else mlp(name)
    parameters = jax.tree.map(jnp.asarray, parameters)
    x, y = map(jnp.asarray, w.data(name))
    criterion = cross_entropy if name in w.CLASSIFIERS else mean_squared_error
    update, rate = adam if name in w.ADAM else sgd, w.RATES[name]
    zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)
    slots = (zeros(), zeros(), jnp.float32(0)) if name in w.ADAM else ()

    def step(state, x, y):
        p, slots = state
        loss, gradient = jax.value_and_grad(lambda p: criterion(forward(p, x), y))(p)
        return update(p, gradient, slots, rate), loss

    def steps(state, x, y):
        return jax.lax.scan(lambda state, _: step(state, x, y), state, None, length=inner(name))

    run = jax.jit(step if options.mode == "jit" else steps, donate_argnums=0)
    kept = [(parameters, slots)]

    def call():
        kept[0], loss = run(kept[0], x, y)
        loss.block_until_ready()  # one program: the new state is ready with it

    return call


def inner(name):
    """Steps a call."""
    return 1 if options.mode == "jit" else 1000 if name in ("seed", "tiny_mlp") else 50


options = arguments(["jit", "scan"])
for name in options.names:
    measure(name, build, inner(name))
