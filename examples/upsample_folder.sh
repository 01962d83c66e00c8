#!/bin/sh
# Upsample every TIFF stack of a folder into another one:
#   sh examples/upsample_folder.sh acquired dense 4
# usage: sh upsample_folder.sh ACQUIRED DENSE FACTOR [OPTION of zinterp upsample]...
#
# Run it again whenever you like, also while another run is at work: a stack whose output is there, or being made, is
# left out, an interrupted one is gone on with, and one that fails is named and does not stop the others. The exit code
# is 0 if none failed. SETTLED=60 in the environment leaves out stacks that were written to in the last 60 minutes,
# because their acquisition may still be going on.
set -u
[ $# -ge 3 ] || { echo "usage: sh upsample_folder.sh ACQUIRED DENSE FACTOR [OPTION]..." >&2; exit 2; }
acquired=$1 dense=$2 factor=$3
shift 3
[ -d "$acquired" ] || { echo "upsample_folder.sh: there is no folder $acquired" >&2; exit 1; }
mkdir -p "$dense" || exit 1

options=$#
for stack in "$acquired"/*; do
    case $stack in
    *.tif | *.tiff | *.TIF | *.TIFF) ;;
    *) continue ;;
    esac
    # no longer ago than that; nor further in the future, as it would be for long where a clock was set back
    if [ -n "${SETTLED:-}" ] && [ -n "$(find -L "$stack" -mmin "-$SETTLED" -mmin "+-$SETTLED")" ]; then
        continue
    fi
    set -- "$@" "$stack"
done
[ $# -gt "$options" ] || exit 0
while [ "$options" -gt 0 ]; do # options come after the stacks
    first=$1
    shift
    set -- "$@" "$first"
    options=$((options - 1))
done
set -- "$@" --output-dir "$dense" --factor "$factor" --log-file "$dense/zinterp.log"
exec zinterp upsample "$@" --skip-existing --resume --keep-going
