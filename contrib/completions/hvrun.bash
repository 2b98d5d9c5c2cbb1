# SPDX-License-Identifier: Apache-2.0
# bash completion of hvrun. Verbs and options are read from --help and containers from `hvrun list`,
# so there is nothing here that a new option would make wrong. Needs bash alone.

# Options of --help, each on a line: "--name" or "--name=" when it takes an argument, "-n" likewise.
_hvrun_options() {
	"${_hvrun[@]}" "$@" --help 2>/dev/null | while read -r first second third _; do
		case $first in
		-?,) printf '%s\n' "${first%,}" ;;
		--*) third=$second second=$first ;;
		*) continue ;;
		esac
		case $third in
		[A-Z0-9]*[A-Z0-9]|[A-Z]) printf '%s=\n' "$second" ;;
		*) printf '%s\n' "$second" ;;
		esac
	done
}

_hvrun_verbs() {
	"${_hvrun[@]}" --help 2>/dev/null | while IFS= read -r line; do
		case $line in
		'  '[a-z]*) line=${line#  } && printf '%s\n' "${line%% *}" ;;
		esac
	done
}

# What an option of a verb (empty: a global one) takes.
_hvrun_argument() {
	local verb=$1 option=$2
	case $verb:$option in
	:--log-format) COMPREPLY=($(compgen -W 'text json' -- "$cur")) ;;
	:--log-level) COMPREPLY=($(compgen -W 'error warning info debug' -- "$cur")) ;;
	:--partition) COMPREPLY=($(compgen -W 'local qemu attach=' -- "$cur")) ;;
	:--root|*:--bundle|create:-b|run:-b|spec:-b) compopt -o filenames && COMPREPLY=($(compgen -d -- "$cur")) ;;
	list:-f|ps:-f|stats:-f|*:--format) COMPREPLY=($(compgen -W 'table json' -- "$cur")) ;;
	logs:--stream) COMPREPLY=($(compgen -W 'stdout stderr' -- "$cur")) ;;
	*:--pod) COMPREPLY=($(compgen -W "$("${_hvrun[@]}" "${root[@]}" list -q 2>/dev/null)" -- "$cur")) ;;
	update:--cpu-idle) COMPREPLY=($(compgen -W '0 1' -- "$cur")) ;;
	:--log|*:--config|*:-f|*:--pid-file|*:--console-socket|*:--log-path|*:--process|*:-p|*:--resources|*:-r)
		compopt -o filenames && COMPREPLY=($(compgen -f -- "$cur")) ;;
	esac
}

_hvrun_operand() {
	local verb=$1 number=$2
	case $verb:$number in
	run:*|create:*|list:*|spec:*|features:*|hv:*|checkpoint:*|restore:*) ;;
	*:0) COMPREPLY=($(compgen -W "$("${_hvrun[@]}" "${root[@]}" list -q 2>/dev/null)" -- "$cur")) ;;
	kill:1) COMPREPLY=($(compgen -W "$(kill -l | tr -s '\t ' '\n' | grep '^SIG' | sed 's/^SIG//')" -- "${cur#SIG}")) ;;
	esac
}

# Walks over the words before the cursor: which verb, how many operands, is an argument due?
_hvrun_complete() {
	local cur=${COMP_WORDS[COMP_CWORD]} verb='' due='' options='' word i
	local -i operands=0
	local -a root=() _hvrun=("${COMP_WORDS[0]}")
	COMPREPLY=()
	_hvrun[0]=${_hvrun[0]/#~\//$HOME/}
	[[ $cur = '=' ]] && cur=''
	options=$(_hvrun_options)
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $due ]]; then
			[[ $word = '=' ]] && continue
			[[ $due = --root && ! $verb ]] && root=(--root "$word")
			due=''
		elif [[ $word = -?* ]] && ((operands == 0)); then
			grep -qxF -e "$word=" <<<"$options" && due=$word
			# A letter takes what the long name on the next line takes.
			[[ $word = -? ]] && grep -A1 -xF -e "$word" <<<"$options" | grep -q '=$' && due=$word
		elif [[ ! $verb ]]; then
			verb=$word
			options=$(_hvrun_options "$verb")
		elif [[ $word != '=' ]]; then
			operands+=1
		fi
	done
	if [[ $due ]]; then
		_hvrun_argument "$verb" "$due"
	elif [[ $cur = -* ]] && ((operands == 0)); then
		COMPREPLY=($(compgen -W "$(tr -d = <<<"$options") --help" -- "$cur"))
	elif [[ ! $verb ]]; then
		COMPREPLY=($(compgen -W "$(_hvrun_verbs)" -- "$cur"))
	else
		_hvrun_operand "$verb" "$operands"
	fi
}

complete -F _hvrun_complete hvrun
