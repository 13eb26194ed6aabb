#!/bin/sh
# Speaks the ten digits with espeak-ng (GPL-3; apt-get install espeak-ng) into wav/ in many voices, and writes the tables
# of what was said: trained.csv and trusted.csv of American voices, heard.csv and unheard.csv of accents that the model
# was not trained on. What it speaks is ours. 1,380 files of 20 to 30 kB, a minute or two.
set -eu
cd "$(dirname "$0")"
mkdir -p wav/american wav/accents
digits="zero one two three four five six seven eight nine"

# speak FOLDER TABLE VOICES SPEEDS PITCHES
speak() {
  for voice in $3; do for speed in $4; do for pitch in $5; do for digit in $digits; do
    number=$((number + 1))
    # 7919 is prime to the number of files in a folder: what comes in the order of names is well mixed.
    name=$(printf '%s/%04d_%s_%s_%s_%s.wav' "$1" $((number * 7919 % 9973)) "$voice" "$speed" "$pitch" "$digit")
    [ -s "wav/$name" ] || espeak-ng -v "$voice" -s "$speed" -p "$pitch" -w "wav/$name" "$digit"
    echo "$name,$digit" >> "$2.new"
  done; done; done; done
}

for table in trained trusted heard unheard; do echo "file,label" > $table.csv.new; done
number=0
speak american trained.csv "en-us+m1 en-us+m3 en-us+m7" "150 170" "30 45 60"
speak american trusted.csv "en-us+m1 en-us+m3 en-us+m7" "145 160 180 195" "34 38 52 56 64"
number=0
speak accents heard.csv "en-gb-scotland+f2 en-029+f3 en-gb-x-gbcwmd+f4 en-029+f1" "140 160 180" "35 50 65"
speak accents unheard.csv "en-gb-scotland+f5 en-029+f2 en-gb-x-gbcwmd+f1" "150 170" "42 58 70 78"
for table in trained trusted heard unheard; do mv $table.csv.new $table.csv; done
