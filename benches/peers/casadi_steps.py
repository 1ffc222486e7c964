"""Training steps in CasADi, translated to C and compiled by gcc: the tiny models, in f64, as CasADi computes.

The new parameters are written beside the old ones, which saves it the copy.
"""

import casadi as ca
import numpy as np

import workloads as w
from measure import arguments, measure


def build(name):
    x_value, y_value = (np.atleast_2d(value) for value in w.data(name))
    x, y = ca.MX.sym("x", *x_value.shape), ca.MX.sym("y", *y_value.shape)
    parameters, values, h = [], [], x
    layers = w.dense_parameters(name)
    for number, (weight, bias) in enumerate(layers):
        parameters += [ca.MX.sym(f"w{number}", *weight.shape), ca.MX.sym(f"b{number}", 1, bias.size)]
        values += [weight, bias[None]]
        h = h @ parameters[-2] + ca.repmat(parameters[-1], h.shape[0], 1)
        h = ca.tanh(h) if number + 1 < len(layers) else h
    loss = ca.sumsqr(h - y) / y_value.size
    updated = [p - w.RATES[name] * ca.gradient(loss, p).reshape(p.shape) for p in parameters]
    options = {"jit": True, "compiler": "shell", "jit_options": {"compiler": "gcc", "flags": ["-O3", "-march=native"]}}
    function = ca.Function("step", [*parameters, x, y], [*updated, loss], options)
    arguments = [np.asarray(value, float).flatten(order="F") for value in [*values, x_value, y_value]]
    results = [np.zeros(function.numel_out(number)) for number in range(function.n_out())]
    buffer, trigger = function.buffer()
    for number, array in enumerate(arguments):
        buffer.set_arg(number, memoryview(array))
    for number, array in enumerate(results):
        buffer.set_res(number, memoryview(array))
    KEPT.append((buffer, arguments, results))
    return trigger


# What the functions work on: they hold pointers only.
KEPT = []
for name in arguments(["gcc"]).names:
    if name in ("seed", "tiny_mlp"):
        measure(name, build)
