#!/bin/sh
#SBATCH --job-name=zinterp
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=08:00:00
#SBATCH --output=zinterp_%A_%a.log
# Upsample many stacks on a cluster, one stack a task of a SLURM job array. In an environment that has zinterp:
#   ls "$PWD"/acquired/*.tif > stacks.txt
#   sbatch --array=1-$(wc -l < stacks.txt) examples/slurm_array.sh stacks.txt dense 4
# usage: sh slurm_array.sh LIST DENSE FACTOR [OPTION of zinterp upsample]..., SLURM_ARRAY_TASK_ID=line of LIST
#
# LIST has the path of one stack a line. `--array=1-90%10` would run ten tasks at a time; with a line
# `#SBATCH --gres=gpu:1` above, zinterp computes on the GPU. Submitted again, tasks whose output is there end at once,
# and those that ran out of time go on where they stopped.
set -u
fail() { echo "slurm_array.sh: $1" >&2; exit 1; }
if [ $# -lt 3 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    echo "usage: sbatch --array=1-\$(wc -l < LIST) slurm_array.sh LIST DENSE FACTOR [OPTION]..." >&2
    exit 2
fi
list=$1 dense=$2 factor=$3
shift 3
[ -f "$list" ] || fail "there is no list $list"
stack=$(awk -v task="$SLURM_ARRAY_TASK_ID" 'NR == task { sub(/\r$/, ""); print }' "$list")
[ -n "$stack" ] || fail "$list has no stack on line $SLURM_ARRAY_TASK_ID, expected a line of 1 to $(grep -c '' "$list")"
name=$(basename "$stack")
[ "$(sed 's|.*/||' "$list" | grep -cFx -e "$name")" -le 1 ] || fail "$list has several stacks called $name: rename them"

mkdir -p "$dense" || exit 1
stem=${name%.*}
stem=${stem%.ome}
target=$dense/${stem}_x$factor${name#"$stem"}
[ ! -e "$target" ] || { echo "$target is there already"; exit 0; }
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
memory=${SLURM_MEM_PER_NODE:-8192} # MiB, the task's share of the node; zinterp plans with half of it
exec zinterp upsample "$stack" --output-dir "$dense" --factor "$factor" --max-memory "$((memory / 2))MiB" --resume "$@"
