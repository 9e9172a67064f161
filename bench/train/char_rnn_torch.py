#!/usr/bin/env python3
"""char-rnn's default model in PyTorch: the same model, data split and arithmetic as `rondo train --text FILE`.

    char_rnn_torch.py FILE [--epochs N] [--steps N] [--first-bytes N] [--threads N] [--seed N]
                      [--hidden N] [--layers N] [--batch N] [--seq N] [--device cpu|cuda] [--ddp PROCESSES]

The first weights are the ones that `rondo train --seed N` draws (Philox4x32-10, keyed by seed and tensor), so that the
two start alike and differ by rounding only.

Prints one JSON line an epoch: validation loss in nats a character and tokens a second of training.
With --steps it stops after so many updates: for timings (any first weights will do then). With --ddp the batch is shared
out over processes of DistributedDataParallel with Gloo (only with --steps), --threads is each one's.
"""

import argparse
import json
import os
import socket
import sys
import time

import torch

WARM = 20  # the first steps of a timing warm caches up


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--first-bytes", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seq", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ddp", type=int, default=1)
    options = parser.parse_args()
    if options.steps and options.steps <= WARM:
        parser.error(f"--steps: more than {WARM}, which are not counted")
    if options.ddp > 1 and not options.steps:
        parser.error("--ddp is for timings: it goes with --steps")
    return options


def load(options):
    raw = open(options.file, "rb").read()
    if options.first_bytes:
        raw = raw[:options.first_bytes]
    text = raw.decode("utf-8")
    vocabulary = sorted(set(text))
    number = {c: i for i, c in enumerate(vocabulary)}
    return torch.tensor([number[c] for c in text]), len(vocabulary)


def philox(seed, tensor, block):
    """Four 32-bit words: Salmon et al. 2011, ten rounds."""
    x, key, full = [block, tensor, 0, 0], [seed & 0xFFFFFFFF, seed >> 32], 0xFFFFFFFF
    for _ in range(10):
        p, q = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(q >> 32) ^ x[1] ^ key[0], q & full, (p >> 32) ^ x[3] ^ key[1], p & full]
        key = [(key[0] + 0x9E3779B9) & full, (key[1] + 0xBB67AE85) & full]
    return x


def fill(parameter, seed, tensor, low=-0.08, high=0.08):
    count = parameter.numel()
    words = [word for block in range((count + 3) // 4) for word in philox(seed, tensor, block)]
    values = [low + (high - low) * (word >> 8) / 2**24 for word in words[:count]]
    parameter.data.copy_(torch.tensor(values).view(parameter.shape))


class Model(torch.nn.Module):
    def __init__(self, vocabulary, hidden, layers):
        super().__init__()
        self.vocabulary = vocabulary
        self.rnn = torch.nn.LSTM(vocabulary, hidden, layers)
        self.linear = torch.nn.Linear(hidden, vocabulary)

    def start_as_rondo(self, hidden, layers, seed):
        names = ["weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l"]
        for tensor in range(4 * layers):
            fill(getattr(self.rnn, names[tensor % 4] + str(tensor // 4)), seed, tensor)
        fill(self.linear.weight, seed, 4 * layers)
        fill(self.linear.bias, seed, 4 * layers + 1)
        for layer in range(layers):
            getattr(self.rnn, f"bias_ih_l{layer}").data[hidden:2 * hidden] = 1

    def forward(self, ids, state):
        one_hot = torch.nn.functional.one_hot(ids, self.vocabulary).float()
        y, state = self.rnn(one_hot, state)
        return self.linear(y), state


def finish(options):
    if options.device == "cuda":
        torch.cuda.synchronize()


def train(rank, options):
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    data, vocabulary = load(options)
    n, t = options.batch, options.seq
    count = (len(data) - 1) // (n * t)
    x = data[:count * n * t].view(n, count * t).t().contiguous()
    y = data[1:count * n * t + 1].view(n, count * t).t().contiguous()
    mine = slice(rank * n // options.ddp, (rank + 1) * n // options.ddp)
    x, y = x[:, mine].contiguous().to(options.device), y[:, mine].contiguous().to(options.device)
    train = int(count * 0.95)
    model = Model(vocabulary, options.hidden, options.layers)
    if not options.steps:
        model.start_as_rondo(options.hidden, options.layers, options.seed)
    model.to(options.device)
    if options.ddp > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        torch.distributed.init_process_group("gloo", rank=rank, world_size=options.ddp)
        model = torch.nn.parallel.DistributedDataParallel(model)
    rate = 2e-3
    optimizer = torch.optim.RMSprop(model.parameters(), lr=rate, alpha=0.95, eps=1e-8)

    def loss_of(segment, state):
        at = slice(segment * t, (segment + 1) * t)
        logits, state = model(x[at], state)
        loss = torch.nn.functional.cross_entropy(logits.view(-1, vocabulary), y[at].reshape(-1))
        return loss, tuple(s.detach() for s in state)

    def learn(segment, state):
        loss, state = loss_of(segment, state)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 5)
        optimizer.step()
        return state

    if options.steps:
        state = None
        for done in range(options.steps):
            if done % train == 0:
                state = None
            if done == WARM:
                finish(options)
                began = time.time()
            state = learn(done % train, state)
        finish(options)
        if rank == 0:
            rate = (options.steps - WARM) * n * t / (time.time() - began)
            print(json.dumps({"steps": options.steps, "tokens_per_s": rate}))
        return
    for epoch in range(1, options.epochs + 1):
        state, began = None, time.time()
        for segment in range(train):
            state = learn(segment, state)
        finish(options)
        spent = time.time() - began
        with torch.no_grad():
            state, total = None, 0.0
            for segment in range(train, count):
                loss, state = loss_of(segment, state)
                total += loss.item()
        print(json.dumps({"epoch": epoch, "val_loss": round(total / (count - train), 4),
                          "tokens_per_s": round(train * n * t / spent)}), flush=True)
        if epoch >= 10:
            for group in optimizer.param_groups:
                group["lr"] *= 0.97


def main():
    options = parse()
    if options.ddp == 1:
        return train(0, options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(free.getsockname()[1])
    torch.multiprocessing.spawn(train, (options,), options.ddp)


if __name__ == "__main__":
    sys.exit(main())
