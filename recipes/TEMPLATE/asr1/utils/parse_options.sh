#!/usr/bin/env bash

# Sourced after a script has set its variables: "--some-option value" sets ${some_option}.
# An option is known if its variable is set; booleans stay booleans; --help prints ${help_message}.

while [ $# -gt 0 ]; do
    case "$1" in
        --help|-h)
            echo "${help_message:-No help found.}"
            exit 0 ;;
        --*=*)
            echo "$0: options must be of the form --name value, got '$1'" 1>&2
            exit 1 ;;
        --*)
            _option=${1#--}
            _option=${_option//-/_}
            if ! [[ "${_option}" =~ ^[a-z][a-z0-9_]*$ ]] || [ -z "${!_option+set}" ]; then
                echo "$0: invalid option $1" 1>&2
                exit 1
            fi
            if [ $# -lt 2 ]; then
                echo "$0: $1 needs a value" 1>&2
                exit 1
            fi
            if [[ "${!_option}" =~ ^(true|false)$ ]] && ! [[ "$2" =~ ^(true|false)$ ]]; then
                echo "$0: expected \"true\" or \"false\": $1 $2" 1>&2
                exit 1
            fi
            printf -v "${_option}" '%s' "$2"
            shift 2 ;;
        *)
            break ;;
    esac
done
true
