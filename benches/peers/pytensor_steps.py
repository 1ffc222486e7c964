"""Training steps in PyTensor with its Numba backend: the dense models."""

import numpy as np
import pytensor
import pytensor.tensor as pt

import workloads as w
from measure import arguments, measure

pytensor.config.floatX = "float32"


def build(name):
    x, y = w.data(name)
    parameters, h = [], pytensor.shared(x)
    layers = w.dense_parameters(name)
    for number, (weight, bias) in enumerate(layers):
        parameters += [pytensor.shared(weight), pytensor.shared(bias)]
        h = h @ parameters[-2] + parameters[-1]
        if number + 1 < len(layers):
            h = pt.tanh(h) if name == "tiny_mlp" else pt.maximum(h, np.float32(0))
    if name in w.CLASSIFIERS:
        loss = -pt.special.log_softmax(h, axis=-1)[np.arange(len(y)), y].mean()
    else:
        loss = ((h - pytensor.shared(y)) ** 2).mean()
    rate = np.float32(w.RATES[name])
    gradients = zip(parameters, pytensor.grad(loss, parameters))
    updates = [(p, (p - rate * gradient).astype("float32")) for p, gradient in gradients]
    step = pytensor.function([], loss, updates=updates, mode="NUMBA")
    step.trust_input = True
    return step


for name in arguments(["numba"]).names:
    if name in ("seed", "tiny_mlp", "mnist_mlp", "wide_mlp"):
        measure(name, build)
