#!/bin/sh
# Upsample every TIFF stack of a folder into another one, as a nightly job would:
#   sh examples/upsample_folder.sh acquired dense 4
# A stack whose output is there already is left out, and one that fails does not stop the others.
set -u
input=$1 output=$2 factor=$3 failed=0
mkdir -p "$output"
for stack in "$input"/*.tif; do
    target=$output/$(basename "${stack%.tif}")_x$factor.tif
    [ -e "$target" ] && continue
    zinterp upsample "$stack" -o "$target" --factor "$factor" --resume --log-file "$output/zinterp.log" || failed=1
done
exit $failed
