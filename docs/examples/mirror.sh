#!/bin/sh
# Mirrors a log: mirror.sh https://moiety.example/v1/pools/folk/log FOLDER, with MOIETY_API_KEY set.
# Run again, it fetches what is new. The folder is what `moiety verify` checks, and what any web server can serve.
set -eu
log=$1 folder=$2
mkdir -p "$folder"
fetch() { curl --silent --show-error --fail --header "authorization: Bearer $MOIETY_API_KEY" "$@"; }

state=$(fetch "$log/at")
fetch "$log/$state/files" | while read -r path; do
    case $path in
        tile/* | body/* | registry/tile/* | registry/body/*) [ ! -e "$folder/$path" ] || continue ;;  # never change
    esac
    printf 'url = "%s/%s/%s"\noutput = "%s/%s"\n' "$log" "$state" "$path" "$folder" "$path"
done > "$folder/.wanted"
fetch --create-dirs --config "$folder/.wanted"
rm "$folder/.wanted"
