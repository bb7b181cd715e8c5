# Sourced by what builds one of the programs beside it: a crate of its own lock file is built once, and only its program is
# kept, in tests/.cache (or below $STEWARD_TEST_CACHE). The caller stands in the crate's folder.
#
#   kept FOLDER PROGRAM         whether the program there is made of what the crate is now
#   build_kept [OPTION...]      builds it, with options for cargo, and keeps it
kept() {
    program=$2
    local cache=${STEWARD_TEST_CACHE:-$PWD/../../../tests/.cache}
    mkdir -p "$cache/$1"
    folder=$(cd "$cache/$1" && pwd)
    made_of=$(cat Cargo.toml Cargo.lock src/main.rs | sha256sum)
    [ -x "$folder/$program" ] && [ "$(cat "$folder/made-of" 2>/dev/null)" = "$made_of" ]
}

build_kept() {
    CARGO_TARGET_DIR=$folder/target cargo build --quiet --locked "$@"
    mv "$folder"/target/*/"$program" "$folder/"
    echo "$made_of" > "$folder/made-of"
    # Gigabytes that nobody needs again.
    rm -rf "$folder/target"
}
