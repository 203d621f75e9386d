#!/usr/bin/env bash
# Shows kikiwake's main job: sounds -> manifest -> model -> scores -> predictions of a long recording.
# Every command is printed before it runs; what it does can be typed by hand.
#
# The data are ESC-10, where the folder that KIKIWAKE_DATA names (or ../shared/data) has it; otherwise sounds
# that kikiwake makes itself. Started again, it goes on where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PWD/.venv/bin:$PATH"

say() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}
# Exit status 3 of prepare: some files were set aside and listed; the others are there.
run_prepare() { run kikiwake prepare "$@" || [ $? -eq 3 ]; }

started=$SECONDS
data=${KIKIWAKE_DATA:-../shared/data}
if [ -f "$data/esc10/esc10.csv" ]; then
    out=demo/esc10
    long=$out/long
    say "1 of 6: list the sounds: ESC-10, 400 clips of 10 classes; every file is decoded once, bad ones set aside"
    run_prepare "$data/esc10" "$out/clips.csv"
    say "2 of 6: make a long recording with known truth from clips of fold 1, which the model will never see"
    run kikiwake soundscape "$out/clips.csv" "$long" --fold 1
else
    out=demo/synthetic
    long=$out/sounds/long
    say "1 of 6: no ESC-10 here (KIKIWAKE_DATA can name its folder), so make sounds: 6 classes, and a long recording"
    run kikiwake synthesise "$out/sounds"
    say "2 of 6: list the clips; every file is decoded once, bad ones would be set aside; sources share a fold"
    run_prepare "$out/sounds/clips" "$out/clips.csv" --dataset table
fi

say "3 of 6: train a small network on folds 2 to 5; this is the longest step, one to two minutes on two cores"
run kikiwake train demo "data.manifest=$out/clips.csv" split.test=1 "run=$out/run"

say "4 of 6: score it on fold 1, with intervals"
run kikiwake evaluate "$out/run"

say "5 of 6: predict the long recording, window by window"
run kikiwake predict "$out/run" "$long/recording.flac" --out "$out/predictions.csv"

say "6 of 6: draw the predictions over time, with what is truly there outlined"
run kikiwake draw "$long/recording.flac" "$out/predictions.csv" "$out/predictions.png" \
    --truth "$long/truth.csv"

say "Done in $((SECONDS - started)) s. Look at:"
cat <<END
  $out/predictions.png              what was heard when, over the spectrogram, and the truth
  $out/predictions.csv              the same as numbers: one row a window, one column a class
  $out/run/evaluation/              scores, confusion matrix, reliability, scores of each class
  $out/run/curves.png               how the training went
  $out/clips.csv                    the manifest: one row a clip

Your own recordings, one folder a class:
  . .venv/bin/activate
  kikiwake prepare my_recordings my_clips.csv
  kikiwake train demo data.manifest=my_clips.csv split.test=1 run=runs/mine
  kikiwake evaluate runs/mine
  kikiwake predict runs/mine field_recordings --out predictions.csv
END
