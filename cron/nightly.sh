#!/bin/sh
# One night from cron. Settings come from the environment:
#   RECBATCH_HOME   where to run: a checkout, or a folder with .venv (default: the folder above this script)
#   RECBATCH_BIN    folder of the command recbatch (default: $RECBATCH_HOME/.venv/bin)
#   RECBATCH_LAKE   the lake (default: $RECBATCH_HOME/lake)   RECBATCH_CONFIG, RECBATCH_SOURCE, …: as for the command
#   RECBATCH_LOG    the log (default: $RECBATCH_LAKE.log), rotated at RECBATCH_LOG_BYTES (10 MB), one old file kept
# Says nothing on success; on failure prints one line and exits with the night's exit code:
#   65 bad data, failed audit or gate   66 input missing   73/74/77 cannot create, I/O, permission   75 lock held   78 config
set -u
umask 027
export TZ=UTC LC_ALL=C.UTF-8
: "${RECBATCH_HOME:=$(cd "$(dirname "$0")/.." && pwd)}"
: "${RECBATCH_BIN:=$RECBATCH_HOME/.venv/bin}"
: "${RECBATCH_LAKE:=$RECBATCH_HOME/lake}"
: "${RECBATCH_LOG:=$RECBATCH_LAKE.log}"
export RECBATCH_LAKE
PATH=$RECBATCH_BIN:/usr/local/bin:/usr/bin:/bin
export PATH

stop() { # code, line
    printf 'recbatch nightly: exit %s: %s\n' "$1" "$2" >&2
    exit "$1"
}

cd "$RECBATCH_HOME" 2>/dev/null || stop 66 "$RECBATCH_HOME: no such folder; set RECBATCH_HOME"
{ true >>"$RECBATCH_LOG"; } 2>/dev/null || stop 77 "$RECBATCH_LOG: cannot be written; give this user access or set RECBATCH_LOG"
if [ "$(wc -c <"$RECBATCH_LOG")" -gt "${RECBATCH_LOG_BYTES:-10000000}" ]; then
    mv -f "$RECBATCH_LOG" "$RECBATCH_LOG.1"
fi
# matplotlib keeps its list of fonts below HOME; service users often have none that can be written.
if [ -z "${MPLCONFIGDIR:-}" ] && { [ -z "${HOME:-}" ] || [ ! -w "$HOME" ]; }; then
    export MPLCONFIGDIR="$RECBATCH_LAKE.cache"
fi

# The log is shared by overlapping starts, so the last line of this one is caught on its way there.
work=$(mktemp -d 2>/dev/null) || stop 73 "no temporary folder; free space in ${TMPDIR:-/tmp}"
trap 'rm -rf "$work"' EXIT
mkfifo "$work/pipe"
tee -a "$RECBATCH_LOG" <"$work/pipe" 2>/dev/null | tail -n 1 >"$work/line" &
writer=$!
recbatch nightly "$@" >"$work/pipe" 2>&1 &
night=$!
trap 'kill -TERM "$night" 2>/dev/null' TERM INT HUP
wait "$night"
code=$?
while kill -0 "$night" 2>/dev/null; do # a signal ends `wait` before the night has ended
    wait "$night"
    code=$?
done
wait "$writer"
[ "$code" -eq 0 ] || stop "$code" "$(cat "$work/line")"
