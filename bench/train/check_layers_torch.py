#!/usr/bin/env python3
"""One training step of `rondo train` with every layer that a model can have, beside PyTorch.

    check_layers_torch.py [--bin BUILD/bin]

For every model: (1) the loss of the first step and the gradient of every tensor, from the same first weights, beside
PyTorch's autograd; the gradient is read off the checkpoints of two runs of one step of plain SGD, one with a rate too
small to change any weight and one with a large one; dropout's masks are drawn here again, from their definition
(ops/dropout.h). Layers: nn.LSTM (with proj_size), nn.GRU, nn.RNN, nn.LayerNorm, nn.Embedding; minGRU and minLSTM, which
PyTorch lacks, by their formulas. (2) PyTorch's freshly drawn weights, written under the same names, must give the nats a
character of PyTorch's eval mode from `rondo eval`. Ends with 1 if a loss differs by more than 1e-5, or a gradient by more
than 1e-5 of its tensor's largest element.
"""

import argparse
import json
import os
import sys
import tempfile

import torch

from char_rnn_torch import philox
from check_torch import ROOT, read, run, write

SEED, BATCH, SEQ = 5, 6, 12
SMALL, LARGE = 1e-30, 2.0**24   # learning rates: no weight changes; the gradient drowns the weight
CASES = [
    ["--model", "lstm", "--projection", "10"],
    ["--model", "lstm", "--layer-norm"],
    ["--model", "lstm", "--dropout", "0.3"],
    ["--model", "lstm", "--embedding", "7"],
    ["--model", "lstm", "--projection", "10", "--layer-norm", "--dropout", "0.25", "--embedding", "7"],
    ["--model", "gru", "--layer-norm", "--dropout", "0.5"],
    ["--model", "gru", "--embedding", "7", "--dropout", "0.1"],
    ["--model", "rnn", "--layer-norm", "--dropout", "0.2"],
    ["--model", "min-gru"],
    ["--model", "min-gru", "--embedding", "7", "--layer-norm", "--dropout", "0.3"],
    ["--model", "min-lstm"],
    ["--model", "min-lstm", "--layer-norm"],
]


class MinCell(torch.nn.Module):
    """minGRU (z v) or minLSTM (f i v), Feng et al. 2024."""

    def __init__(self, kind, inputs, hidden):
        super().__init__()
        self.gates = 2 if kind == "min-gru" else 3
        self.weight_ih_l0 = torch.nn.Parameter(torch.empty(self.gates * hidden, inputs).uniform_(-0.2, 0.2))
        self.bias_ih_l0 = torch.nn.Parameter(torch.empty(self.gates * hidden).uniform_(-0.2, 0.2))

    def forward(self, x):
        all_gates = torch.nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0).chunk(self.gates, -1)
        h, out = torch.zeros_like(all_gates[0][0]), []
        for t in range(x.shape[0]):
            first = torch.sigmoid(all_gates[0][t])
            if self.gates == 2:
                h = (1 - first) * h + first * all_gates[1][t]
            else:
                second = torch.sigmoid(all_gates[1][t])
                h = first / (first + second) * h + second / (first + second) * all_gates[2][t]
            out.append(h)
        return torch.stack(out), h


def mask(step, layer, shape, probability):
    """1/(1-p) where an element is kept: a draw by (seed, step, layer, sequence, time, feature)."""
    steps, batch, features = shape
    blocks = (features + 3) // 4
    kept = torch.zeros(shape)
    for t in range(steps):
        for n in range(batch):
            words = []
            for block in range(blocks):
                words += philox_of(step, n, layer, t * blocks + block)
            draws = torch.tensor([(word >> 8) / 2**24 for word in words[:features]], dtype=torch.float64)
            kept[t, n] = (draws >= probability).float() / (1 - probability)
    return kept


def philox_of(step, sample, tensor, block):
    x, key, full = [block, tensor, sample, step], [SEED & 0xFFFFFFFF, SEED >> 32], 0xFFFFFFFF
    for _ in range(10):
        p, q = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(q >> 32) ^ x[1] ^ key[0], q & full, (p >> 32) ^ x[3] ^ key[1], p & full]
        key = [(key[0] + 0x9E3779B9) & full, (key[1] + 0xBB67AE85) & full]
    return x


class Model(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        hidden, layers, words = spec["hidden"], spec["layers"], spec["inputs"]
        projection, embedding = spec.get("projection", 0), spec.get("embedding", 0)
        self.dropout = spec.get("dropout", 0.0)
        width = projection or hidden
        if embedding:
            self.embedding = torch.nn.Embedding(words, embedding)
        self.cells = torch.nn.ModuleList()
        for layer in range(layers):
            inputs = width if layer else embedding or words
            if spec["cell"].startswith("min-"):
                self.cells.append(MinCell(spec["cell"], inputs, hidden))
            elif spec["cell"] == "lstm":
                self.cells.append(torch.nn.LSTM(inputs, hidden, proj_size=projection))
            else:
                self.cells.append({"rnn": torch.nn.RNN, "gru": torch.nn.GRU}[spec["cell"]](inputs, hidden))
        if spec.get("layer_norm"):
            self.layer_norm = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(layers))
        self.linear = torch.nn.Linear(width, words)

    def named(self):
        """The parameters under the names of the checkpoint."""
        found = {}
        for name, value in self.named_parameters():
            if name.startswith("cells."):
                _, layer, inner = name.split(".")
                name = inner[:-1] + layer
            found[name] = value
        return found

    def load(self, tensors):
        mine = self.named()
        assert set(mine) == set(tensors), set(mine) ^ set(tensors)
        for name, value in mine.items():
            assert value.shape == tensors[name].shape, name
            value.data.copy_(tensors[name])

    def forward(self, ids, step=None):
        if hasattr(self, "embedding"):
            x = self.embedding(ids)
        else:
            x = torch.nn.functional.one_hot(ids, self.spec["inputs"]).to(self.linear.weight.dtype)
        for layer, cell in enumerate(self.cells):
            x = cell(x)[0]
            if hasattr(self, "layer_norm"):
                x = self.layer_norm[layer](x)
            if step is not None and self.dropout and layer + 1 < len(self.cells):
                x = x * mask(step, layer, x.shape, self.dropout)
        return self.linear(x)


def one_step(train, file, folder, flags, rate):
    """Tensors after one step with this rate, the metadata, and the step's loss."""
    out = os.path.join(folder, f"rate{rate:g}")
    said = run(train, "--text", file, "--layers", "3", "--hidden", "16", "--batch", str(BATCH), "--seq",
               str(SEQ), "--steps", "1", "--optimizer", "sgd", "--clip", "0", "--lr", repr(rate), "--seed",
               str(SEED), "--replicas", "2", "--stages", "3", "--out", out, "-o", "json", *flags)
    events = [json.loads(line) for line in said.splitlines()]
    path = os.path.join(out, "last.safetensors")
    metadata, tensors = read(path)
    return tensors, metadata, next(event["loss"] for event in events if event["event"] == "step")


def first_batch(text, vocabulary):
    number = {c: i for i, c in enumerate(vocabulary)}
    data = torch.tensor([number[c] for c in text])
    count = (len(data) - 1) // (BATCH * SEQ)
    cut = lambda shift: data[shift:count * BATCH * SEQ + shift].view(BATCH, count * SEQ).t()[:SEQ]
    return cut(0).contiguous(), cut(1).contiguous(), data


def check_gradient(model, before, after, loss, x, y):
    """How far the losses are apart, and the worst tensor."""
    model.load(before)
    model.double()
    wanted = torch.nn.functional.cross_entropy(model(x, step=1).flatten(0, 1), y.reshape(-1))
    wanted.backward()
    worst, name = 0.0, ""
    for key, value in model.named().items():
        got = (before[key].double() - after[key].double()) / LARGE
        largest = value.grad.abs().max().item()
        assert largest > 0, key
        apart = (got - value.grad).abs().max().item() / largest
        if not apart <= worst:
            worst, name = apart, key
    return abs(loss - wanted.item()), worst, name


def check_back(evaluate, folder, file, metadata, data):
    """PyTorch's own first weights, judged by both."""
    model = Model(json.loads(metadata["model"])).eval()
    path = os.path.join(folder, "torch.safetensors")
    write(path, metadata, model.named())
    ours = json.loads(run(evaluate, path, "--text", file, "-o", "json"))["nats_per_char"]
    with torch.no_grad():
        logits = model(data[:-1].unsqueeze(1)).squeeze(1)
    return abs(ours - torch.nn.functional.cross_entropy(logits.double(), data[1:]).item())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=os.path.join(ROOT, "build", "bin"))
    options = parser.parse_args()
    train, evaluate = (os.path.join(options.bin, "rondo-" + verb) for verb in ("train", "eval"))
    assert philox(SEED, 3, 2) == philox_of(0, 0, 3, 2)
    text = open(os.path.abspath(__file__)).read()
    torch.manual_seed(1)
    good = True
    for flags in CASES:
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "text")
            open(file, "w").write(text)
            before, metadata, loss = one_step(train, file, folder, flags, SMALL)
            after, _, _ = one_step(train, file, folder, flags, LARGE)
            x, y, data = first_batch(text, json.loads(metadata["vocabulary"]))
            model = Model(json.loads(metadata["model"]))
            off, worst, name = check_gradient(model, before, after, loss, x, y)
            back = check_back(evaluate, folder, file, metadata, data)
            fine = off <= 1e-5 and worst <= 1e-5 and back <= 1e-5
            good = good and fine
            print(f"{'ok' if fine else 'FAILED':6} loss {off:.1e}  gradient {worst:.1e} ({name})  eval {back:.1e}  "
                  f"{' '.join(flags)}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
