# Every script sources this (. env.sh). It puts a Python with MXNet first on the PATH. The first start makes .venv from the
# pinned requirements; later starts do nothing. An active environment that has every module is used as it is.
# PYTHON=/path/to/python chooses the interpreter, GLUON_CGD_BUILD=cpu or cuda the build of MXNet. For bash and zsh.

[ -n "${BASH_VERSION:-}${ZSH_VERSION:-}" ] || { echo "gluon_cgd: env.sh needs bash or zsh: start bash, and source it there." >&2; return 2; }
cgd_root=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]:-$0}")" >/dev/null && pwd)
cgd_venv=$cgd_root/.venv

cgd_say() { printf 'gluon_cgd: %s\n' "$*" >&2 || true; }

# Succeeds if interpreter $1 has every module that training needs.
cgd_complete() {
    "$1" -c 'import sys; from importlib.util import find_spec
sys.exit(any(find_spec(m) is None for m in "mxnet gluoncv gluoncv2 safetensors numpy scipy cv2 PIL tqdm portalocker matplotlib jinja2".split()))' 2>/dev/null
}

# Prints the interpreter for .venv, by version: 3.11, 3.10, 3.9, 3.8, and last 3.12, which needs a newer NumPy.
cgd_interpreter() { cgd_python_of "MXNet 1.9.1 runs on Python 3.8 to 3.12" PYTHON 3.11 3.10 3.9 3.8 3.12; }

# Prints the interpreter for .venv-torch, which gluon_cgd/engines/environment.py makes.
cgd_interpreter_of_torch() { PYTHON=${PYTHON_TORCH:-} cgd_python_of "PyTorch 2.13.0 runs on Python 3.10 to 3.13" PYTHON_TORCH 3.11 3.12 3.10 3.13; }

# Prints an interpreter of the first version from $3 on that there is. $1: the rule, for the sentence that says that there is none; $2:
# the variable that names an interpreter, whose value is PYTHON here.
cgd_python_of() {
    local rule=$1 variable=$2 wanted candidate version found="" without_venv=""
    local -a candidates
    shift 2
    for wanted in "$@"; do
        candidates=("python$wanted" python3 python)
        [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
        [ -n "${PYTHON:-}" ] || candidates+=("${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/"$wanted".*/bin/python "${HOME:-}"/.local/share/uv/python/*-"$wanted".*/bin/python3)
        for candidate in "${candidates[@]}"; do
            version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
            case " $found " in *" $version "*) ;; *) found="$found $version" ;; esac
            [ "$version" = "$wanted" ] || continue
            if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
                candidate=$(command -v "$candidate")
                case $candidate in  # where .venv is active, as it is before an update: set-up removes it
                    "$cgd_venv"/*) candidate=$("$candidate" -c 'import sys; print(sys._base_executable)') ;;
                esac
                echo "$candidate"
                return 0
            fi
            without_venv=$wanted
        done
    done
    if [ -n "${PYTHON:-}" ] && [ "${found:-none}" != " $without_venv" ]; then
        [ -z "$found" ] || found=", which is Python$found"
        cgd_say "$variable is $PYTHON${found:-, which cannot be started as a Python}, but $rule: name another one, or unset $variable."
    elif [ -n "$without_venv" ]; then
        cgd_say "Python $without_venv is installed without its venv module: install that (Debian and Ubuntu: apt-get install python$without_venv-venv) and start again."
    else
        cgd_say "$rule, and this machine has${found:- none}: install 3.11 (uv python install 3.11, conda create -n cgd python=3.11, or pyenv install 3.11) and start again, with $variable=/path/to/python if it is not on the PATH."
    fi
    return 2
}

# Prints "cuda" if there are NVIDIA GPUs and the CUDA build has code for all of them, else "cpu".
cgd_build() {
    local capabilities capability
    capabilities=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null) || capabilities=""
    [ -n "$capabilities" ] || { echo cpu; return; }
    for capability in $capabilities; do
        case $capability in
            5.*|6.*|7.*|8.*) ;;
            *) cgd_say "MXNet 1.9.1 has code for GPUs of compute capability 5.0 to 8.9, and this one has $capability: installing the CPU build."
               echo cpu; return ;;
        esac
    done
    echo cuda
}

# The stamp says what is installed: a checksum of the requirements of .venv, and the build. Prints the stamp's first part.
cgd_stamp() {
    local name
    for name in constraints requirements-cpu requirements-extra requirements-test requirements; do cat "$cgd_root/$name.txt"; done | cksum
}

# Succeeds if .venv is whole and of this version; unless GLUON_CGD_BUILD is set, either build will do.
cgd_ready() {
    local stamp
    [ -x "$cgd_venv/bin/python" ] || return 1
    stamp=$(cgd_stamp)
    case $(cat "$cgd_venv/installed" 2>/dev/null) in
        "$stamp ${GLUON_CGD_BUILD:-cpu}"|"$stamp ${GLUON_CGD_BUILD:-cuda}") ;;
        *) return 1 ;;
    esac
}

cgd_setup() {
    local interpreter build requirements
    cgd_ready && return 0  # another start has made it meanwhile
    interpreter=$(cgd_interpreter) || return 2
    build=${GLUON_CGD_BUILD:-$(cgd_build)}
    case $build in
        cpu) requirements=requirements-cpu.txt ;;
        cuda) requirements=requirements.txt ;;
        *) cgd_say "GLUON_CGD_BUILD is $build: it must be cpu or cuda."; return 2 ;;
    esac
    cgd_say "setting up $cgd_venv with $("$interpreter" --version) and MXNet's $build build; this happens once and takes about a minute."
    rm -rf "$cgd_venv"
    # -I: pip would leave out what it finds in PYTHONPATH
    if ! { "$interpreter" -m venv "$cgd_venv" &&
           "$cgd_venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r "$cgd_root/$requirements"; } >&2; then
        cgd_say "the installation failed (see above): it needs a package index and 0.7 GB of disk (CUDA: 4.2 GB, and 2.1 GB more during the download); mend that and start again."
        return 2
    fi
    # pip would compile all of scipy and both model zoos, a third of the work; this compiles what the commands import
    if ! PYTHONPATH=$cgd_root "$cgd_venv/bin/python" -c 'import gluon_cgd, mxnet, gluoncv.model_zoo, cv2, PIL.Image, matplotlib.figure, matplotlib.backends.backend_agg' >&2; then
        cgd_say "MXNet is installed but cannot be imported (see above); a bare Debian or Ubuntu lacks its libraries: apt-get install libgomp1 libquadmath0, then start again."
        return 2
    fi
    echo "$(cgd_stamp) $build" > "$cgd_venv/installed"
}

cgd_enter() {
    [ -z "${ZSH_VERSION:-}" ] || emulate -L sh
    (true >&2) || exec 2>/dev/null  # stderr is closed
    local active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
    if [ -n "$active" ] && [ "$active" != "$cgd_venv" ] && cgd_complete "$active/bin/python"; then
        PATH=$active/bin:$PATH
    else
        case $cgd_root in
            *:*) cgd_say "the folder $cgd_root has a colon in its name, which PATH cannot hold: rename it."; return 2 ;;
        esac
        if ! cgd_ready; then
            if ! { true >>"$cgd_root/.venv.lock"; } 2>/dev/null; then
                cgd_say "$cgd_venv is missing or belongs to another version, and $cgd_root/.venv.lock cannot be written to make it anew: let its owner source env.sh, or copy the project to a folder of yours."
                return 2
            fi
            if command -v flock >/dev/null; then  # of two first starts at once, the second waits until .venv is made
                ( flock -n 9 || { cgd_say "waiting for another start that is making $cgd_venv"; flock 9; }; cgd_setup ) 9>>"$cgd_root/.venv.lock" || return 2
            else
                cgd_setup || return 2
            fi
        fi
        export VIRTUAL_ENV=$cgd_venv
        PATH=$cgd_venv/bin:$PATH
    fi
    PYTHONPATH=$cgd_root${PYTHONPATH:+:$PYTHONPATH}
    export PATH PYTHONPATH
}

cgd_enter
