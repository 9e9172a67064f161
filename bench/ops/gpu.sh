#!/usr/bin/env bash
# One command for a machine with a GPU: checks every GPU op against double, times everything,
# compares with cuDNN, trains on it beside PyTorch, and trains on two stages whose activations stay
# on the device, with and without kills: the weights must have the same bits. Where there are two
# GPUs also on two replicas: summed in host memory, and by NCCL with kills. At most 8 minutes, with
# two GPUs 10; the tables for bench/RESULTS.md come last.
#
#   bench/ops/gpu.sh               build in build/gpu (needs the packages of cmake/packages.txt)
#   bench/ops/gpu.sh --use DIR     no build: the programs that lie in DIR
#   bench/ops/gpu.sh --pack DIR    on a machine with the packages: build, and put into DIR all that
#                                  --use needs elsewhere (there: the driver and cuBLASLt)
#
# GPU_OUT (default: the folder of the programs) receives check.txt, bench.txt, cudnn.txt, train.txt,
# stages.txt, replicas.txt.
# What is learnt is GPU_TEXT, a file (default: this repository's sources).
# Ends with 0 if the checks hold, 77 without a GPU, else what failed.
set -u
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P) || exit 5
mode=${1:-build}
programs=$root/build/gpu/bin

build() {
  cmake --preset release -S "$root" -B "$root/build/gpu" -DRONDO_CUDA=ON \
    -DRONDO_EXAMPLES=OFF || exit
  cmake --build "$root/build/gpu" \
    --target rondo_ops_cuda ops_cuda_check ops_cuda_bench rondo-train || exit
}

# The libraries of a program that another machine may lack: not those of the compiler and of libc.
libraries_of() {
  ldd "$@" | awk '/=> \// {print $3}' | sort -u |
    grep -Ev '/(libc|libm|libdl|librt|libpthread|libresolv|libgcc_s|libstdc\+\+)\.so'
}

case $mode in
  build) build ;;
  --use) programs=$(cd -- "${2:?a folder}" && pwd -P) || exit 2 ;;
  --pack)
    build
    mkdir -p "${2:?a folder}" || exit
    cp "$programs"/{librondo_ops_cuda.so,ops_cuda_check,ops_cuda_bench,rondo-train} "$2" || exit
    for library in $(libraries_of "$programs"/{ops_cuda_check,rondo-train}); do
      cp -L "$library" "$2" || exit
    done
    exit 0
    ;;
  *) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

out=${GPU_OUT:-$programs}
mkdir -p "$out" || exit
python=${PYTHON:-python3}
# cuBLASLt may lie with the toolkit or in Python's packages.
libraries=$("$python" -c 'import glob, sys
print(":".join(p for s in sys.path for p in glob.glob(s + "/nvidia/*/lib")))' 2>/dev/null)
libraries=$programs:/usr/local/cuda/lib64${libraries:+:$libraries}
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

nvidia-smi --query-gpu=name,driver_version,memory.used --format=csv,noheader 2>/dev/null
timeout 180 "$programs/ops_cuda_check" 2>&1 | tee "$out/check.txt"
checked=${PIPESTATUS[0]}
[ "$checked" -eq 77 ] && exit 77
timeout 110 "$programs/ops_cuda_bench" --json "$out/times.json" 2>&1 | tee "$out/bench.txt"
timed=${PIPESTATUS[0]}
timeout 80 "$python" "$root/bench/ops/compare_cudnn.py" "$out/times.json" 2>&1 |
  tee "$out/cudnn.txt"
compared=${PIPESTATUS[0]}
text=${GPU_TEXT:-}
if [ -z "$text" ]; then
  text=$out/text
  cat "$root"/{runtime,ops,actors,tests}/*/*.{h,cc} >"$text"
fi
timeout 60 "$python" "$root/bench/train/compare_torch.py" "$text" --bin "$programs" \
  --device gpu --precision tf32 --hidden 512 --batch 64 --seq 64 --rounds 2 --steps 120 2>&1 |
  tee "$out/train.txt"
trained=${PIPESTATUS[0]}

# Two stages, each a process, on this GPU: a run that nothing disturbs, and one with kills.
stages() {
  local run more said
  for run in plain killed; do
    rm -rf "$out/stages_$run"
    more=()
    [ "$run" = killed ] && more=(--chaos 3 --chaos-phases forward,optimiser)
    said=$(timeout 24 "$programs/rondo-train" --text "$text" --device gpu --hidden 512 --batch 64 \
      --seq 64 --stages 2 --microbatches 4 --steps 30 --out "$out/stages_$run" \
      ${more[@]+"${more[@]}"} 2>&1) || { echo "$said"; echo "FAILED: 2 stages, $run"; return 1; }
    echo "2 stages, $run: $(echo "$said" | grep '^done:')"
    echo "$said" | grep -E 'host memory|chaos: hit' | sort -u
  done
  cmp "$out"/stages_{plain,killed}/last.safetensors || return 1
  echo "2 stages: the same weights with and without kills"
}
stages 2>&1 | tee "$out/stages.txt"
staged=${PIPESTATUS[0]}

# Two replicas, each on a GPU of its own: NCCL and kills may not change the weights.
replicas() {
  local run more said
  if [ "$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU ')" -lt 2 ]; then
    echo "2 replicas: SKIPPED, fewer than two GPUs"
    return 0
  fi
  for run in shm nccl killed; do
    rm -rf "$out/replicas_$run"
    more=(--all-reduce nccl)
    [ "$run" = shm ] && more=(--all-reduce shm)
    [ "$run" = killed ] && more+=(--chaos 3 --chaos-phases backward,aggregation)
    said=$(timeout 40 "$programs/rondo-train" --text "$text" --device gpu --hidden 512 --batch 64 \
      --seq 64 --replicas 2 --steps 30 --out "$out/replicas_$run" "${more[@]}" 2>&1) ||
      { echo "$said"; echo "FAILED: 2 replicas, $run"; return 1; }
    echo "2 replicas, $run: $(echo "$said" | grep '^done:')"
    echo "$said" | grep -E 'host memory|chaos: hit' | sort -u
  done
  cmp "$out"/replicas_{shm,nccl}/last.safetensors || return 1
  cmp "$out"/replicas_{shm,killed}/last.safetensors || return 1
  echo "2 replicas: the same weights by NCCL as in host memory, with and without kills"
}
replicas 2>&1 | tee "$out/replicas.txt"
replicated=${PIPESTATUS[0]}
for code in "$checked" "$timed" "$compared" "$trained" "$staged" "$replicated"; do
  [ "$code" -ne 0 ] && exit "$code"
done
exit 0
