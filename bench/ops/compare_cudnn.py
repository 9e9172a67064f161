#!/usr/bin/env python3
"""Recurrent layers on the GPU against cuDNN through PyTorch, after ops_cuda_bench on the same GPU.

    PYTHON bench/ops/compare_cudnn.py TIMES.json [--seconds 60]

TIMES.json is what `ops_cuda_bench --json` wrote. Forward + backward, all gradients; each of our
cases stands beside cuDNN in fp16 (where it may take its persistent path), bf16 and TF32; the ratio
is PyTorch's time over ours in bf16, and for TF32 over ours in TF32; each way to run a layer (as
the module chooses, step by step, in parts in so many lines) is a row. PyTorch's layers get a fresh
graph of autograd each step, as in training. Stops taking new cases after --seconds. Without torch
or a GPU it says so and ends with 0.
"""
import argparse
import json
import re
import statistics
import sys
import time

KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


def seconds(torch, name, dtype):
    kind, hidden, batch, steps, layers = re.fullmatch(
        r"(\w+)_h(\d+)_n(\d+)_t(\d+)_l(\d+)", name).groups()
    hidden, batch, steps = int(hidden), int(batch), int(steps)
    net = getattr(torch.nn, KINDS[kind])(hidden, hidden, num_layers=int(layers))
    net = net.to("cuda", dtype)
    x = torch.randn(steps, batch, hidden, device="cuda", dtype=dtype, requires_grad=True)
    dy = torch.randn(steps, batch, hidden, device="cuda", dtype=dtype)

    def step():
        net.zero_grad(set_to_none=True)
        x.grad = None
        net(x)[0].backward(dy)

    for _ in range(3):
        step()
    times = []
    for _ in range(7):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(3):
            step()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 3e3)
    return statistics.median(times)


def mark(name, fp16, bf16):
    """What is asked for: 1.5x cuDNN in bf16; beside its persistent fp16 path, 1x of that too."""
    persistent = re.fullmatch(r"lstm_h(512|768|1024)_.*_l1", name)
    met = bf16 >= 1.5 and (not persistent or fp16 >= 1.0)
    return "met" if met else "not met"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("times")
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("SKIPPED: this Python has no torch; nothing was compared with cuDNN")
        return 0
    if not torch.cuda.is_available():
        print("SKIPPED: PyTorch sees no GPU; nothing was compared with cuDNN")
        return 0
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    ours = {}   # case -> way -> precision -> seconds
    with open(args.times, encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            ways = ours.setdefault(entry["case"], {})
            ways.setdefault(entry["way"], {})[entry["precision"]] = entry["seconds"]
    print(f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}\n")
    print("| case | way | ours bf16 | to cuDNN fp16 | to cuDNN bf16 | mark | ours TF32 "
          "| to cuDNN TF32 |")
    print("|---|---|---|---|---|---|---|---|")
    started = time.monotonic()
    for name, ways in ours.items():
        if time.monotonic() - started > args.seconds:
            print(f"stopped after {args.seconds:.0f} s: {name} and what follows was not compared")
            break
        theirs = [seconds(torch, name, dtype)
                  for dtype in (torch.float16, torch.bfloat16, torch.float32)]
        for way, times in ways.items():
            fp16, bf16 = theirs[0] / times["bf16"], theirs[1] / times["bf16"]
            print(f"| {name} | {way} | {times['bf16'] * 1e3:.2f} ms | {fp16:.2f}x | {bf16:.2f}x "
                  f"| {mark(name, fp16, bf16)} | {times['tf32'] * 1e3:.2f} ms "
                  f"| {theirs[2] / times['tf32']:.2f}x |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
