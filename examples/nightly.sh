#!/bin/sh
# What cron runs each night (see the file crontab beside this one): upsample the new TIFF stacks of a folder.
# usage: sh nightly.sh ACQUIRED DENSE FACTOR [OPTION of zinterp upsample]...
#
# It prints the path of each new output and what failed, which cron sends you by mail; all else is in DENSE/zinterp.log.
# Stacks that were written to in the last hour wait for the next night. If a run takes longer than a day, the next one
# gives way to it, so that the machine has one job at a time; if it was switched off, the next one goes on where that
# stopped.
set -u
[ $# -ge 3 ] || { echo "usage: sh nightly.sh ACQUIRED DENSE FACTOR [OPTION]..." >&2; exit 2; }
examples=$(cd "$(dirname "$0")" && pwd)
# Cron looks for programs in system folders only. If zinterp is not in .venv beside examples, name its folder here.
PATH=${examples%/*}/.venv/bin:$PATH
for program in zinterp flock; do
    command -v $program > /dev/null || { echo "nightly.sh: there is no $program on the PATH $PATH" >&2; exit 1; }
done

mkdir -p "$2" || exit 1
exec 9> "$2/.nightly.lock" || exit 1
flock -n 9 || { echo "nightly.sh: an earlier run is still at work on $2"; exit 0; }
SETTLED=60 exec sh "$examples/upsample_folder.sh" "$@" --quiet
