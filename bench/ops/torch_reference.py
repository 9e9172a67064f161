#!/usr/bin/env python3
"""Writes tests/ops/torch_figures.h: what PyTorch computes for small layers.

    PYTHON bench/ops/torch_reference.py > tests/ops/torch_figures.h

Weights and inputs come from the same counter-based random numbers as tests/ops/cases.h draws
(Philox4x32-10, seed 1), so only results are stored. Computed in float64, printed to nine digits.
"""
import sys

import torch

STEPS, BATCH, INPUTS, HIDDEN = 3, 2, 3, 5


def philox(counter, key):
    x, k = list(counter), list(key)
    for _ in range(10):
        p, q = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(q >> 32) ^ x[1] ^ k[0], q & 0xFFFFFFFF, (p >> 32) ^ x[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return x


def draw(shape, bound, number, seed=1):
    count = 1
    for size in shape:
        count *= size
    values = []
    for i in range(count):
        u = (philox([i // 4, number, 0, 0], [seed, 0])[i % 4] >> 8) / 2**24
        values.append(-bound + 2 * bound * u)
    rounded = torch.tensor(values, dtype=torch.float64).to(torch.float32)
    return rounded.to(torch.float64).reshape(shape)


def figures(kind):
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    if kind in ("tanh", "relu"):
        net = torch.nn.RNN(INPUTS, HIDDEN, nonlinearity=kind, dtype=torch.float64)
    else:
        net = getattr(torch.nn, kind.upper())(INPUTS, HIDDEN, dtype=torch.float64)
    rows = gates * HIDDEN
    with torch.no_grad():
        net.weight_ih_l0.copy_(draw([rows, INPUTS], 0.4, 0))
        net.weight_hh_l0.copy_(draw([rows, HIDDEN], 0.4, 1))
        net.bias_ih_l0.copy_(draw([rows], 0.4, 2))
        net.bias_hh_l0.copy_(draw([rows], 0.4, 3))
    x = draw([STEPS, BATCH, INPUTS], 1, 4).requires_grad_()
    h0, c0 = draw([1, BATCH, HIDDEN], 1, 5), draw([1, BATCH, HIDDEN], 1, 6)
    dy = draw([STEPS, BATCH, HIDDEN], 1, 7)
    dh, dc = draw([1, BATCH, HIDDEN], 1, 8), draw([1, BATCH, HIDDEN], 1, 9)
    if kind == "lstm":
        y, (h, c) = net(x, (h0, c0))
        ((y * dy).sum() + (h * dh).sum() + (c * dc).sum()).backward()
    else:
        y, h = net(x, h0)
        ((y * dy).sum() + (h * dh).sum()).backward()
    return {"y": y, "dx": x.grad, "w_ih": net.weight_ih_l0.grad, "w_hh": net.weight_hh_l0.grad,
            "b_ih": net.bias_ih_l0.grad, "b_hh": net.bias_hh_l0.grad}


def main():
    print("#pragma once\n")
    version = torch.__version__.split("+")[0]
    print(f"// Written by bench/ops/torch_reference.py with PyTorch {version}; do not edit.\n")
    print("#include <string>\n#include <vector>\n")
    print("namespace rondo::ops::torch_figures {\n")
    print(f"inline constexpr int kSteps = {STEPS}, kBatch = {BATCH};")
    print(f"inline constexpr int kInputs = {INPUTS}, kHidden = {HIDDEN};\n")
    print("struct Figure {\n  std::string cell, tensor;\n  std::vector<double> values;\n};\n")
    print("inline const std::vector<Figure> kFigures = {")
    for kind in ("tanh", "relu", "lstm", "gru"):
        for name, tensor in figures(kind).items():
            numbers = [f"{v:.9g}" for v in tensor.detach().flatten().tolist()]
            print(f'    {{"{kind}", "{name}", {{')
            line = "       "
            for number in numbers:
                if len(line) + len(number) > 96:
                    print(line.rstrip())
                    line = "       "
                line += number + ", "
            print(line.rstrip().rstrip(",") + "}},")
    print("};\n\n}  // namespace rondo::ops::torch_figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
