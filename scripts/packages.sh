# shellcheck shell=sh
# How scripts install packages into .venv: with uv, else with pip, each with the settings of this machine.
# To be read with `.` from a script that set $python.

say() { echo "${0##*/}: $*" >&2; }
fail() { # what, hint
    say "$1"
    [ $# -lt 2 ] || say "hint: $2"
    exit 1
}
runs() { "$@" >/dev/null 2>&1; }

find_uv() { # candidates
    uv=
    for candidate; do
        if runs "$candidate" --version; then
            uv=$candidate
            settings_for_uv
            return
        fi
    done
}

pip_setting() { # name: from the environment, or from pip's files
    from_env=$(printenv "PIP_$(echo "$1" | tr 'a-z-' 'A-Z_')" || true)
    echo "${from_env:-$("$python" -m pip config get "global.$1" 2>/dev/null || true)}"
}

settings_for_uv() { # uv does not read pip's settings: hand on those it knows too
    export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
    index=$(pip_setting index-url)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    cert=$(pip_setting cert)
    [ -z "$cert" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$cert}"
    wheels=$(pip_setting find-links)
    [ ! -d "$wheels" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$wheels}"
}

pip_install() {
    if ! runs .venv/bin/python -m pip --version && ! runs .venv/bin/python -m ensurepip; then
        "$python" -m pip --python .venv/bin/python install --quiet --disable-pip-version-check "$@"
        return
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
}

install() { # arguments that uv's and pip's `install` both know
    if [ -n "$uv" ]; then
        if "$uv" pip install --quiet --python .venv/bin/python "$@"; then
            return 0
        fi
        say "uv could not; trying with pip"
    fi
    pip_install "$@"
}
