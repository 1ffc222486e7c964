"""Training steps in PyTorch: `eager`, or with forward pass, loss and optimiser under torch.compile."""

import torch
import torch.nn.functional as F
from torch import nn

import workloads as w
from measure import arguments, measure


def dense(name):
    layers = []
    for weight, bias in w.dense_parameters(name):
        layer = nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, nn.Tanh() if name == "tiny_mlp" else nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class GeluChain(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(1 << 20))

    def forward(self, x):
        return F.gelu(self.w * x, approximate="tanh")


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(w.WIDTH), nn.LayerNorm(w.WIDTH)
        self.qkv, self.out = nn.Linear(w.WIDTH, 3 * w.WIDTH), nn.Linear(w.WIDTH, w.WIDTH)
        self.up, self.down = nn.Linear(w.WIDTH, 4 * w.WIDTH), nn.Linear(4 * w.WIDTH, w.WIDTH)

    def forward(self, h):
        parts = self.qkv(self.norm1(h)).split(w.WIDTH, -1)
        heads = [p.view(w.BATCH, w.LENGTH, w.HEADS, w.WIDTH // w.HEADS).transpose(1, 2) for p in parts]
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        h = h + self.out(mixed.transpose(1, 2).reshape(h.shape))
        return h + self.down(F.gelu(self.up(self.norm2(h)), approximate="tanh"))


class CharGpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(w.CHARACTERS, w.WIDTH)
        self.positions = nn.Parameter(torch.randn(w.LENGTH, w.WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(w.BLOCKS)))
        self.norm, self.head = nn.LayerNorm(w.WIDTH), nn.Linear(w.WIDTH, w.CHARACTERS)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.tokens(x) + self.positions))).flatten(0, 1)


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(w.INPUTS, w.CELLS)

    def forward(self, x):
        return self.layer(x)[0][-1]


MODELS = {"gelu_chain": GeluChain, "lenet": lenet, "char_gpt": CharGpt, "lstm": Lstm}


def build(name):
    torch.manual_seed(0)
    model = MODELS[name]() if name in MODELS else dense(name)
    x, y = map(torch.from_numpy, w.data(name))
    y = y.flatten() if name == "char_gpt" else y
    criterion = F.cross_entropy if name in w.CLASSIFIERS else F.mse_loss
    optimiser = (torch.optim.Adam if name in w.ADAM else torch.optim.SGD)(model.parameters(), lr=w.RATES[name])
    loss, update = lambda: criterion(model(x), y), optimiser.step
    if options.mode == "compile":
        loss, update = torch.compile(loss), torch.compile(update)

    def step():
        optimiser.zero_grad()
        value = loss()
        value.backward()
        update()
        return value

    return step


options = arguments(["eager", "compile"])
torch.set_num_threads(options.threads)
for name in options.names:
    measure(name, build)
