"""Run the recorded recipe of shipped weights in small, and see that it comes to what the index says.

usage: python tests/benchmarks/recipe.py --stack MEDULLA=a.tif,b.tif --stack SOIL=c.tif ... [--weights mirror-unet]
       [--minutes 3] VOLUME ...

The words in capitals in the recipe stand for the files of the training data. Prints the mean gain in dB over the better
of linear and cubic on the volumes (see quality.py), and exits with 1 if it is under what the index states.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from quality import say, table

from zinterp.interpolators import create_interpolator
from zinterp.interpolators.weights import shipped_weights


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--stack", action="append", default=[], metavar="NAME=FILE,...")
    parser.add_argument("--weights", default="mirror-unet")
    parser.add_argument("--minutes", default="3")
    args = parser.parse_args()
    files = {name: paths.split(",") for name, _, paths in (stack.partition("=") for stack in args.stack)}
    recipe = shipped_weights()[args.weights].about["recipe"]
    if "gain_after_3_minutes" not in recipe:
        raise SystemExit(f"the index states no gain after 3 minutes for {args.weights}: take other --weights")
    words = [path for word in shlex.split(recipe["command"]) for path in files.get(word, [word])]
    missing = [word for word in words if word.isupper()]
    if missing:
        raise SystemExit(f"give --stack for {', '.join(sorted(set(missing)))}: the recipe is {recipe['command']}")
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder, "small.safetensors"))
        for option, value in (("--minutes", args.minutes), ("--out", out)):
            words[words.index(option) + 1] = value
        subprocess.run([sys.executable, "-m", *words], check=True)
        results = table([("small", create_interpolator(out))], args.volumes)
    gain = float(np.mean([row["gain"] for row in results["small"].values()]))
    stated = float(recipe["gain_after_3_minutes"])
    say(f"{gain:+.2f} dB, stated are {stated:+.2f} dB after 3 minutes on {recipe['hardware']}")
    sys.exit(gain < stated)


if __name__ == "__main__":
    main()
