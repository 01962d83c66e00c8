#!/bin/sh
# Tune the network to your own stack for some minutes, then make that stack four times denser in z with it:
#   sh examples/fine_tune.sh mine.tif tuned 5
# usage: sh fine_tune.sh STACK OUT_DIR MINUTES
#
# OUT_DIR gets mine_tuned.safetensors, for --model with stacks of the same kind, mine_training.log, and mine_x4.tif. If
# training does not help, mine_x4.tif is made with the shipped network, and the last lines say so. After an
# interruption the same command goes on; weights that are there already are used, not trained again.
set -u
[ $# -eq 3 ] || { echo "usage: sh fine_tune.sh STACK OUT_DIR MINUTES" >&2; exit 2; }
stack=$1 output=$2 minutes=$3
name=$(basename "$stack")
tuned=$output/${name%.*}_tuned.safetensors log=$output/${name%.*}_training.log
mkdir -p "$output" || exit 1

# What would stop the last step is better known now: a stack that cannot be read, an output that is there, a full disk.
zinterp upsample "$stack" --output-dir "$output" --factor 4 --resume --dry-run >&2 || exit

model=$tuned
if [ ! -e "$tuned" ]; then
    resume=
    [ -e "$tuned.checkpoint" ] && resume=--resume
    rm -f "$log"
    zinterp train "$stack" --out "$tuned" --minutes "$minutes" --log-file "$log" $resume
    status=$?
    if [ $status -ne 0 ]; then
        grep -qs "training did not help" "$log" || exit $status
        model=mirror-unet # the shipped one, which training started from
        echo "fine_tune.sh: training did not help, so the shipped network $model is used" >&2
    fi
fi
zinterp upsample "$stack" --output-dir "$output" --factor 4 --resume --model "$model"
