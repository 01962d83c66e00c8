#!/bin/sh
# Upsample every TIFF stack of a folder into another one:
#   sh examples/upsample_folder.sh acquired dense 4
# usage: sh upsample_folder.sh ACQUIRED DENSE FACTOR [OPTION of zinterp upsample]...
#
# Run it again whenever you like: a stack whose output is there is left out, an interrupted one is gone on with, and one
# that fails is named but does not stop the others. The exit code is 0 if none failed. SETTLED=60 in the environment
# leaves out stacks that were written to in the last 60 minutes, because their acquisition may still be going on.
set -u
[ $# -ge 3 ] || { echo "usage: sh upsample_folder.sh ACQUIRED DENSE FACTOR [OPTION]..." >&2; exit 2; }
acquired=$1 dense=$2 factor=$3 failed=0
shift 3
[ -d "$acquired" ] || { echo "upsample_folder.sh: there is no folder $acquired" >&2; exit 1; }
mkdir -p "$dense" || exit 1
from=$(cd "$acquired" && pwd -P) to=$(cd "$dense" && pwd -P)

for stack in "$acquired"/*; do
    name=${stack##*/}
    case $name in
    *.tif | *.tiff | *.TIF | *.TIFF) ;;
    *) continue ;;
    esac
    stem=${name%.*}
    stem=${stem%.ome}
    suffix=${name#"$stem"}
    target=$dense/${stem}_x$factor$suffix
    [ -e "$target" ] && continue
    original=${stem%_x[0-9]*}
    if [ "$from" = "$to" ] && [ "$original" != "$stem" ] && [ -e "$from/$original$suffix" ]; then
        continue # both folders are one, and this is an output in it: a_x4.tif beside a.tif
    fi
    if [ -n "${SETTLED:-}" ] && [ -n "$(find -L "$stack" -mmin "-$SETTLED")" ]; then
        continue
    fi

    zinterp upsample "$stack" -o "$target" --factor "$factor" --resume --log-file "$dense/zinterp.log" "$@" && continue
    status=$?
    case $status in
    2 | 126 | 127 | 130 | 143) exit $status ;; # wrong options, no zinterp, interrupted: others would fare no better
    esac
    echo "upsample_folder.sh: $stack was not upsampled" >&2
    failed=1
done
exit $failed
