#!/bin/sh
# Generates moietyv1/ from the pinned contract, by protoc, protoc-gen-go and protoc-gen-go-grpc.
set -eu
cd "$(dirname "$0")"
contract=../../../proto/contract.binpb
package=example.org/moiety-submit
files='moiety/v1/usage.proto' # and whatever else of proto/moiety/v1 you call, with the files that it imports
# The contract names no Go package, since that is yours to choose: one option for each file.
options=module=$package
for file in $files; do options=$options,M$file=$package/moietyv1; done
# shellcheck disable=SC2086  # several files
protoc --descriptor_set_in=$contract --go_out=. --go_opt="$options" --go-grpc_out=. --go-grpc_opt="$options" $files
