#!/usr/bin/env python3
"""Rondo's checkpoints against PyTorch, there and back.

    check_torch.py [--bin BUILD/bin] [--csv examples/data/airline.csv]

For every cell: (1) `rondo train` writes a checkpoint, its tensors are loaded by name into nn.RNN, nn.LSTM or nn.GRU and
nn.Linear, and PyTorch's outputs are compared with those of `rondo eval`; (2) PyTorch's freshly drawn weights are written
under the same names, and `rondo eval` must give PyTorch's outputs again. The outputs are the one-step forecasts of a series,
row by row, and the nats a character of a text. Ends with 1 if any differs by more than 1e-5.
"""

import argparse
import csv
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import torch

TOLERANCE = 1e-5
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def read(path):
    raw = open(path, "rb").read()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + length])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        if name.startswith("train."):
            continue
        begin, end = entry["data_offsets"]
        data = bytearray(raw[8 + length + begin:8 + length + end])
        tensors[name] = torch.frombuffer(data, dtype=torch.float32).view(entry["shape"])
    return metadata, tensors


def write(path, metadata, tensors):
    header, blob = {"__metadata__": metadata}, b""
    for name, tensor in tensors.items():
        flat = tensor.detach().contiguous().view(-1).tolist()
        data = struct.pack(f"<{len(flat)}f", *flat)
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + blob)


class Model(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()
        kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[spec["cell"]]
        extra = {"nonlinearity": spec["activation"]} if spec["cell"] == "rnn" else {}
        self.rnn = kind(spec["inputs"], spec["hidden"], spec["layers"], **extra)
        self.linear = torch.nn.Linear(spec["hidden"], spec["outputs"])

    def tensors(self):
        named = dict(self.rnn.named_parameters())
        named.update({"linear." + name: value for name, value in self.linear.named_parameters()})
        return named

    def load(self, tensors):
        mine = self.tensors()
        assert set(mine) == set(tensors), set(mine) ^ set(tensors)
        for name, value in mine.items():
            assert value.shape == tensors[name].shape, name
            value.data.copy_(tensors[name])

    def forward(self, x):
        return self.linear(self.rnn(x)[0])


def forecasts(model, metadata, rows):
    data = json.loads(metadata["data"])
    scale, test = data["scale"], data["test_rows"]
    levels = [math.log(row) if scale["logarithm"] else row for row in rows]
    lag = scale["lag"]
    z = [(levels[i] - levels[i - lag] - scale["mean"]) / scale["deviation"]
         for i in range(lag, len(rows))]
    with torch.no_grad():
        out = model(torch.tensor(z[:-1]).view(-1, 1, 1)).view(-1).tolist()
    result = []
    for row in range(len(rows) - test, len(rows)):
        change = out[row - lag - 1] * scale["deviation"] + scale["mean"]
        before = rows[row - lag]
        result.append(before * math.exp(change) if scale["logarithm"] else before + change)
    return result


def nats(model, metadata, text):
    number = {c: i for i, c in enumerate(json.loads(metadata["vocabulary"]))}
    ids = torch.tensor([number[c] for c in text])
    with torch.no_grad():
        one_hot = torch.nn.functional.one_hot(ids[:-1], len(number)).float().unsqueeze(1)
        logits = model(one_hot).squeeze(1)
        return [torch.nn.functional.cross_entropy(logits.double(), ids[1:]).item()]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default=os.path.join(ROOT, "build", "bin"))
    parser.add_argument("--csv", default=os.path.join(ROOT, "examples", "data", "airline.csv"))
    options = parser.parse_args()
    train, evaluate = (os.path.join(options.bin, "rondo-" + verb) for verb in ("train", "eval"))
    rows = [float(row["passengers"]) for row in csv.DictReader(open(options.csv))]
    text = open(os.path.abspath(__file__)).read()
    torch.manual_seed(1)
    worst = 0.0
    cells = [("rnn", "tanh"), ("rnn", "relu"), ("lstm", "tanh"), ("gru", "tanh")]
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "text")
        open(file, "w").write(text)
        for cell, activation in cells:
            for kind in ("series", "text"):
                out = os.path.join(folder, f"{cell}-{activation}-{kind}")
                flags = ["--csv", options.csv, "--column", "passengers"] if kind == "series" else [
                    "--text", file, "--batch", "4", "--seq", "20"]
                if cell == "rnn":
                    flags += ["--activation", activation]
                run(train, *flags, "--model", cell, "--layers", "2", "--hidden", "24", "--epochs",
                    "3", "--out", out)
                path = os.path.join(out, "last.safetensors")
                metadata, tensors = read(path)
                model = Model(json.loads(metadata["model"]))
                for way in ("there", "back"):
                    if way == "there":
                        model.load(tensors)
                    else:
                        model = Model(json.loads(metadata["model"]))
                        path = os.path.join(out, "torch.safetensors")
                        write(path, metadata, model.tensors())
                    if kind == "series":
                        ours = json.loads(run(evaluate, path, "--csv", options.csv, "-o", "json"))
                        ours, theirs = ours["forecasts"], forecasts(model, metadata, rows)
                    else:
                        ours = json.loads(run(evaluate, path, "--text", file, "-o", "json"))
                        ours, theirs = [ours["nats_per_char"]], nats(model, metadata, text)
                    assert len(ours) == len(theirs)
                    apart = [abs(a - b) / max(1.0, abs(b)) for a, b in zip(ours, theirs)]
                    far = max(apart) if all(map(math.isfinite, apart)) else math.inf
                    worst = max(worst, far)
                    print(f"{cell:5}{activation:5} {kind:6} {way:5} {len(ours):3} outputs, "
                          f"largest difference {far:.2e}")
    print(f"{'ok' if worst <= TOLERANCE else 'FAILED'}: largest {worst:.2e}, allowed {TOLERANCE}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
