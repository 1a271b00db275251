# Sourced by quickstart.sh and run_tests.sh: a virtual environment in .venv with what is pinned in constraints.txt.
# make_environment EXTRA[,EXTRA…] makes or completes it and leaves its Python in $python; a second call takes no time.

fail() { printf '\n%s: %s\n' "$(basename "$0")" "$1" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

make_environment() {
    local extras=$1 found wanted free log=".run/install.log"
    mkdir -p .run
    python=$PWD/.venv/bin/python
    if [ ! -x "$python" ]; then
        found=$(find_python) || fail "no Python 3.11 or newer found; install one, or name it: PYTHON=/path/to/python3.11 $0"
        free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
        [ "$free" -ge "${NEEDED_GB:-9}" ] || fail "only $free GB are free here and the environment takes up to ${NEEDED_GB:-9} (most of it PyTorch with CUDA); free some, or install a CPU build of torch into .venv first and set NEEDED_GB=2"
        "$found" -m venv .venv || { rm -rf .venv; fail "the virtual environment could not be made; on Debian and Ubuntu: apt install python3-venv"; }
    fi
    "$python" handler/intgrads/serving/java.py || extras=$extras,java
    wanted="$extras $(cat pyproject.toml constraints.txt | cksum)"
    if [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
        echo "installing into .venv (a few minutes the first time; the log is $log)"
        # Python compiles what is imported when it is; of 23,000 files few are.
        if ! "$python" -m pip install --no-compile --disable-pip-version-check --constraint constraints.txt --editable ".[$extras]" 2>&1 |
            tee "$log" | show_progress; then
            tail -n 15 "$log" >&2
            fail "pip failed (above); mend it and run $0 again"
        fi
        case ,$extras, in
            *,tensormask,*)
                "$python" scripts/install_detectron2.py 2>&1 | tee -a "$log" ||
                    echo "  going on without detectron2: everything but TensorMask works"
                ;;
        esac
        echo "$wanted" >.venv/installed
    fi
}

# One line a package on a terminal or in a log, without pip's paths.
show_progress() {
    local line
    while IFS= read -r line; do
        case $line in
            Collecting*) printf '  %s\n' "${line%% (from*}" ;;
            *Downloading*MB*) printf '    %s\n' "${line#"${line%%[![:space:]]*}"}" ;;
            Installing\ collected*) printf '  installing %s packages\n' "$(tr , '\n' <<<"$line" | wc -l)" ;;
        esac
    done
}
