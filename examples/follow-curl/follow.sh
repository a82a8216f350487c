#!/bin/sh
# Create a task and follow it to its end, with curl alone: follow.sh [WORK [TITLE [RESULT]]]
#
#   follow.sh
#   follow.sh 'reverse: {inputData: "hello"}' 'Turn it round'
#
# WORK is what GraphQL takes for `work`, RESULT what to select of a kind of your own. TASKQL_URL is where TaskQL is. Exit code: 0 COMPLETED, 1 anything else.
# No jq: TaskQL writes JSON without spaces and in the order of the fields asked for, which sed can read.

work=${1:-'countdown: {steps: 5}'}
title=${2:-Followed by curl}
result=${3:-'
	... on ProcessResult { said: message }
	... on ComputeResult { count sum average max min }
	... on TransformResult { uppercase lowercase wordCount charCount }
	... on ReverseResult { outputData }
	... on CountdownResult { steps }'}
url=${TASKQL_URL:-http://127.0.0.1:8000}/graphql
lives=30 # how often the stream may be lost

# json TEXT: as the inside of a JSON string
json() { printf %s "$1" | tr '\n\t' '  ' | sed 's/[\\"]/\\&/g'; }

# string NAME: the last text of that name in the JSON that comes in
string() { sed "s/\\\\\"/'/g" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# post QUERY VARIABLES [CURL-OPTION...]
post() {
	body="{\"query\":\"$(json "$1")\",\"variables\":$2}"
	shift 2
	curl --silent --show-error --header 'Content-Type: application/json' "$@" --data "$body" "$url"
}

# Shows each state that comes in, and answers the last one's status once it is terminal, or a complaint.
states() {
	end=
	while IFS= read -r line; do
		case $line in
		*'"retryable":true'*) ;;
		*'"errors":'*) end=$(printf '%s\n' "$line" | string message) ;;
		data:*'"status":'*)
			status=$(printf '%s\n' "$line" | string status)
			printf '%s  %s\n' "$status" "$(printf '%s\n' "$line" | string message)" >&3
			case $line in *'"isTerminal":true'*)
				end=$status
				printf '%s\n' "$line" | sed -n 's/.*"result":\({.*}\)}}}[^}]*$/\1/p' >&3
				;;
			esac
			;;
		esac
	done
	printf %s "$end"
}

give_up() {
	printf 'follow.sh: %s\n' "$*" >&2
	exit 1
}

exec 3>&1

# Curl may send this again after a lost answer: the key makes sure that it is one task all the same.
answer=$(post "mutation Create(\$title: String!, \$key: String!) {
	createTask(input: {title: \$title, idempotencyKey: \$key, work: {$work}}) { task { id } userErrors { message } }
}" "{\"title\":\"$(json "$title")\",\"key\":\"curl-$(date +%s)-$$\"}" --retry 3) ||
	give_up "there is no TaskQL at $url: start it with \`make run\`, or set TASKQL_URL"
case $answer in
*'"task":{"id":"'*) id=$(printf '%s\n' "$answer" | string id) ;;
*) give_up "$(printf '%s\n' "$answer" | string message)" ;;
esac
echo "Task $id"

# A stream that ends too early was lost with its API. The next one starts with the task as it is by then.
while [ "$lives" -gt 0 ]; do
	end=$(post "subscription Follow(\$id: ID!) { taskStatus(id: \$id) {
		status isTerminal progress { message } failure { message } result { $result }
	} }" "{\"id\":\"$id\"}" --no-buffer --header 'Accept: text/event-stream' | states)
	case $end in
	COMPLETED) exit 0 ;;
	FAILED | CANCELLED) exit 1 ;;
	?*) give_up "$end" ;;
	esac
	lives=$((lives - 1))
	sleep 1
done
give_up "the connection was lost too often; task $id goes on without being watched"
