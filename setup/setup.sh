#!/usr/bin/env bash
# Makes this folder runnable: system libraries, .venv with the pinned packages, FFCV from source, the MLflow database.
# Safe to run again: with nothing changed it returns at once; a .venv that a failure or Ctrl-C left unfinished is made anew.
# Everything that the tools say goes to .venv/setup.log.
set -euo pipefail
export LC_ALL=C.UTF-8
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
PATH=${PATH//"$root/.venv/bin:"/} # an activated .venv must not become its own base
venv_python=$root/.venv/bin/python
log=.venv/setup.log
stamp=.venv/setup.stamp

fingerprint() { # of everything that decides what is in .venv; the path too, because a moved .venv does not work
    { echo "$root" && sha256sum requirements{,-dev,-examples,-export,-slurm}.txt constraints.txt setup/setup.sh setup/ffcv/{opencv4.pc,requirements.txt,include/opencv2/opencv.hpp}; } | sha256sum
}

give_up() {
    printf 'make setup: ' >&2
    printf '%s\n' "$@" >&2
    exit 1
}

step() { # step LABEL COMMAND...: runs it quietly and prints one line with its time
    local label=$1 begin=${EPOCHREALTIME/./} code
    shift
    printf '  %-20s' "$label"
    set +e # a function called in a condition would run on after its first error
    (set -e; "$@") >>"$log" 2>&1
    code=$?
    set -e
    if ((code != 0)); then
        printf ' failed\n'
        tail -n 25 "$log" >&2
        give_up "\"$label\" failed (exit status $code). The whole log: $log"
    fi
    local tenths=$(((${EPOCHREALTIME/./} - begin) / 100000))
    printf ' %3d.%d s\n' $((tenths / 10)) $((tenths % 10))
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

choose_python() { # prints PYTHON, or the first interpreter that is new enough and really starts (a pyenv shim may not)
    local candidate candidates=(python3.13 python3.12 python3.11 python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        is_new_enough "$candidate" && command -v "$candidate" && return
    done
    give_up "needs Python 3.11 or newer; $candidate is $("$candidate" --version 2>/dev/null || echo "not there")." \
        "    Install one (on Debian and Ubuntu: apt-get install python3 python3-venv python3-dev), or name it: make setup PYTHON=/path/to/python3.11"
}

missing_packages() { # Debian names of the system packages whose files are not there; $1 is the Python to build with
    local headers=/usr/include/opencv4/opencv2
    command -v g++ >/dev/null || echo g++
    command -v git >/dev/null || echo git
    command -v pkg-config >/dev/null || echo pkg-config
    [[ -e $headers/core.hpp ]] || echo libopencv-core-dev
    [[ -e $headers/imgproc.hpp ]] || echo libopencv-imgproc-dev
    pkg-config --exists libturbojpeg 2>/dev/null || echo libturbojpeg0-dev
    "$1" -c 'import ensurepip, venv' 2>/dev/null || echo "python$(version_of "$1")-venv"
    "$1" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || echo "python$(version_of "$1")-dev"
}

install_system() { # $@: a prefix such as sudo, then --, then the packages
    local as_root=()
    while [[ $1 != -- ]]; do
        as_root+=("$1")
        shift
    done
    shift
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

ensure_system() {
    local missing
    mapfile -t missing < <(missing_packages "$1")
    ((${#missing[@]} > 0)) || return 0
    command -v apt-get >/dev/null ||
        give_up "these system packages (Debian names) are missing, and there is no apt-get to install them: ${missing[*]}"
    if ((EUID == 0)); then
        step "system packages" install_system -- "${missing[@]}"
    elif command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
        step "system packages" install_system sudo -- "${missing[@]}"
    else
        give_up "system packages are missing, and this user may not install them. As an administrator run" \
            "    apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" "then run make setup again."
    fi
    mapfile -t missing < <(missing_packages "$1")
    ((${#missing[@]} == 0)) || give_up "apt-get installed what was asked, but this is still not found: ${missing[*]}"
}

make_venv() {
    "$1" -m venv .venv
    "$venv_python" -m pip --disable-pip-version-check install -c constraints.txt uv
}

uv_install() { "$venv_python" -m uv --no-progress pip install --python "$venv_python" "$@"; }

install_packages() {
    uv_install --build-constraints constraints.txt -c constraints.txt -r requirements.txt -r requirements-dev.txt -r requirements-examples.txt -r requirements-export.txt -r requirements-slurm.txt
}

build_ffcv() { # never from uv's cache: a build belongs to this machine's OpenCV
    PATH="$root/.venv/bin:$PATH" CC=gcc CXX=g++ CPATH="$root/setup/ffcv/include:/usr/include/opencv4" \
        PKG_CONFIG_PATH="$root/setup/ffcv${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}" \
        uv_install --no-cache --no-deps --no-build-isolation --reinstall --compile-bytecode -r setup/ffcv/requirements.txt
    # Its library must load with every symbol bound; importing all of ffcv would say the same in four seconds.
    "$venv_python" -c 'import ctypes, importlib.util as u, glob, os
package, = u.find_spec("ffcv").submodule_search_locations
ctypes.CDLL(glob.glob(package + "/_libffcv*.so")[0], mode=os.RTLD_NOW)'
}

initialise_tracking() { MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true "$venv_python" -m pipeline.tracking.server; }

# A database of the user's own (MLFLOW_TRACKING_URI) is initialised once per setup, the default one whenever it is gone.
tracking_is_ready() { [[ -n ${MLFLOW_TRACKING_URI:-} || -e mlflow.db ]]; }

venv_fits() { # finished (an interrupted one may be broken), new enough, made in this folder, and of PYTHON's version, if given
    [[ -e $stamp ]] && is_new_enough "$venv_python" && grep -qsF "$root/.venv" .venv/bin/activate &&
        { [[ -z ${PYTHON:-} ]] || [[ $(version_of "$PYTHON") == "$(version_of "$venv_python")" ]]; }
}

venv_is_ready() { venv_fits && [[ $(<"$stamp") == "$(fingerprint)" ]]; }

build_kernels() { # without a compiler for them everything else works, and says so where they are asked for
    "$venv_python" -c 'from granet.kernels import why_not; print("sparse kernels:", why_not() or "ready")'
}

prepare_venv() { # reuses a .venv that fits, else makes a new one
    local python=$venv_python
    if ! venv_fits; then
        python=$(choose_python)
        rm -rf .venv
    fi
    echo "Setting up with Python $(version_of "$python") (log: $log)"
    mkdir -p .venv
    : >"$log"
    ensure_system "$python"
    [[ -e $stamp ]] || step "virtual environment" make_venv "$python"
    rm -f "$stamp"
    step "Python packages" install_packages
    step "FFCV from source" build_ffcv
    step "sparse kernels" build_kernels
    fingerprint >"$stamp"
    step "MLflow database" initialise_tracking # also after an upgrade: it migrates an older database
}

main() {
    if venv_is_ready && tracking_is_ready; then return; fi
    exec 9<setup/setup.sh
    flock 9 # a second make in this folder waits for the first
    venv_is_ready || prepare_venv
    tracking_is_ready || step "MLflow database" initialise_tracking
}

main
