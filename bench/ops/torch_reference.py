#!/usr/bin/env python3
"""Writes tests/ops/torch_figures.h: what PyTorch computes for small layers.

    PYTHON bench/ops/torch_reference.py > tests/ops/torch_figures.h

Weights and inputs come from the same counter-based random numbers as tests/ops/cases.h draws
(Philox4x32-10, seed 1), so only results are stored. Computed in float64, printed to nine digits.
"""
import sys

import torch

STEPS, BATCH, INPUTS, HIDDEN, PROJECTION = 3, 2, 3, 5, 2


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


PARAMETERS = {"weight_ih_l0": ("w_ih", 0), "weight_hh_l0": ("w_hh", 1), "bias_ih_l0": ("b_ih", 2),
              "bias_hh_l0": ("b_hh", 3), "weight_hr_l0": ("w_hr", 11)}


def figures(kind, projection=0, both_ways=False):
    """Direction d draws its weights and states with seed d + 1."""
    options = {"dtype": torch.float64, "bidirectional": both_ways}
    if kind in ("tanh", "relu"):
        net = torch.nn.RNN(INPUTS, HIDDEN, nonlinearity=kind, **options)
    else:
        if projection:
            options["proj_size"] = projection
        net = getattr(torch.nn, kind.upper())(INPUTS, HIDDEN, **options)
    ways, state = 2 if both_ways else 1, projection or HIDDEN
    gradients = {}
    for name, value in net.named_parameters():
        seed = 2 if name.endswith("_reverse") else 1
        ours, number = PARAMETERS[name.removesuffix("_reverse")]
        with torch.no_grad():
            value.copy_(draw(list(value.shape), 0.4, number, seed))
        gradients[ours + "_reverse" * (seed == 2)] = value

    def states(width, number):
        return torch.cat([draw([1, BATCH, width], 1, number, seed + 1) for seed in range(ways)])

    x = draw([STEPS, BATCH, INPUTS], 1, 4).requires_grad_()
    h0, c0 = states(state, 5), states(HIDDEN, 6)
    dy = draw([STEPS, BATCH, ways * state], 1, 7, 3 if both_ways else 1)
    dh, dc = states(state, 8), states(HIDDEN, 9)
    if kind == "lstm":
        y, (h, c) = net(x, (h0, c0))
        ((y * dy).sum() + (h * dh).sum() + (c * dc).sum()).backward()
    else:
        y, h = net(x, h0)
        ((y * dy).sum() + (h * dh).sum()).backward()
    return {"y": y, "dx": x.grad} | {name: value.grad for name, value in gradients.items()}


def main():
    print("#pragma once\n")
    version = torch.__version__.split("+")[0]
    print(f"// Written by bench/ops/torch_reference.py with PyTorch {version}; do not edit.\n")
    print("#include <string>\n#include <vector>\n")
    print("namespace rondo::ops::torch_figures {\n")
    print(f"inline constexpr int kSteps = {STEPS}, kBatch = {BATCH};")
    print(f"inline constexpr int kInputs = {INPUTS}, kHidden = {HIDDEN};")
    print(f"inline constexpr int kProjection = {PROJECTION};   // of the cases named so\n")
    print("struct Figure {\n  std::string cell, tensor;\n  std::vector<double> values;\n};\n")
    print("inline const std::vector<Figure> kFigures = {")
    cases = [(kind, figures(kind)) for kind in ("tanh", "relu", "lstm", "gru")]
    cases.append(("lstm_projected", figures("lstm", PROJECTION)))
    both = [("lstm", 0), ("gru", 0), ("lstm", PROJECTION)]
    for kind, projection in both:
        tensors = figures(kind, projection, True)
        kept = [name for name in tensors if name in ("y", "dx") or name.endswith("_reverse")]
        cases.append((kind + "_projected" * (projection > 0) + "_both",
                      {name: tensors[name] for name in kept}))
    for kind, tensors in cases:
        for name, tensor in tensors.items():
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
