#!/bin/sh
#SBATCH --job-name=zinterp
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --output=zinterp_%A_%a.log
# Upsample one big stack on a cluster, a share of it in each task of a SLURM job array, then complete the output. In an
# environment that has zinterp:
#   job=$(sbatch --parsable --array=1-8 examples/slurm_array.sh stack.tif dense.ome.zarr 4)
#   sbatch --dependency="afterok:$job" --wrap "zinterp finish dense.ome.zarr"
# usage: sh slurm_array.sh STACK OUTPUT FACTOR [OPTION of zinterp upsample]..., SLURM_ARRAY_TASK_ID=1, ..., 8
#
# `--array=1-90%10` would run ten tasks at a time; with a line `#SBATCH --gres=gpu:1` above, zinterp computes on the
# GPU. Submitted again, tasks go on where they stopped. zinterp finish says which of them lack; to run only these again:
#   SHARES=8 sbatch --array=3,5 examples/slurm_array.sh stack.tif dense.ome.zarr 4
set -u
if [ $# -lt 3 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    echo "usage: sbatch --array=1-8 slurm_array.sh STACK OUTPUT FACTOR [OPTION]..." >&2
    exit 2
fi
stack=$1 output=$2 factor=$3
shift 3
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
memory=${SLURM_MEM_PER_NODE:-8192} # MiB, the task's share of the node; zinterp plans with half of it
exec zinterp upsample "$stack" -o "$output" --factor "$factor" --max-memory "$((memory / 2))MiB" \
    --slab "$SLURM_ARRAY_TASK_ID/${SHARES:-$SLURM_ARRAY_TASK_COUNT}" "$@"
