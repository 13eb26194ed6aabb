#!/bin/sh
# Speaks the phrases of phrases.csv into wav/, with espeak-ng (GPL-3; apt-get install espeak-ng). What it speaks is ours.
set -eu
cd "$(dirname "$0")"
mkdir -p wav
tail -n +2 phrases.csv | while IFS=, read -r file text; do
  espeak-ng -v en-us -s 160 -w "wav/$file" "$text"
done
