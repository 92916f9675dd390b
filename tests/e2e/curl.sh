#!/usr/bin/env bash
#
# curl against our servers: event streams, long-polls, and every refusal of docs/protocol.md, 1.

set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

readonly BIN=${E2E_BIN:-target/release/examples}
readonly TMP=$(mktemp -d)
readonly PATIENCE=20 # s
failures=0
pids=()

finish() {
    ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null
    rm -rf "$TMP"
}
trap finish EXIT

# ---- Cases. ----

# begin NAME: begins a case, unless only others are wanted; complain says what is wrong with it.
begin() {
    [[ $1 =~ ${E2E_ONLY:-} ]] || return 1
    name=$1 complaints=
}

complain() {
    complaints+="$*"$'\n'
}

# end: prints how the case went.
end() {
    if [[ -z $complaints ]]; then
        echo "ok      $name"
    else
        failures=$((failures + 1))
        echo "FAILED  $name: $complaints"
    fi
}

# expect FILE PATTERN…: every pattern is in the file.
expect() {
    local file=$1 pattern
    shift
    for pattern in "$@"; do
        grep --quiet --extended-regexp --ignore-case -- "$pattern" "$file" ||
            complain "no '$pattern' in: $(head -c 600 "$file" | tr -d '\r')"
    done
}

# await FILE PATTERN: waits until something is in a file that is being written.
await() {
    local deadline=$((SECONDS + PATIENCE))
    until grep --quiet --extended-regexp -- "$2" "$1" 2>/dev/null; do
        if ((SECONDS >= deadline)); then
            complain "no '$2' in time in: $(head -c 600 "$1")"
            return 1
        fi
        sleep 0.02
    done
}

# ---- Servers and requests. ----

# serve NAME: starts an example and sets `host` to where it listens.
serve() {
    "$BIN/$1" --listen 127.0.0.1:0 >"$TMP/$1.log" 2>&1 &
    pids+=($!)
    complaints=
    if ! await "$TMP/$1.log" '127\.0\.0\.1:[0-9]+'; then
        echo "FAILED  starting $1: $complaints"
        exit 1
    fi
    host=$(grep --only-matching '127\.0\.0\.1:[0-9]*' "$TMP/$1.log" | head -n 1)
}

# request ARGUMENTS…: one request; head and body go into files, the status into `status`.
request() {
    status=$(curl --silent --http1.1 --max-time "$PATIENCE" --dump-header "$TMP/head" \
        --output "$TMP/body" --write-out '%{http_code}' "$@")
}

# refused NAME STATUS ERROR ARGUMENTS…: a case of a request that is refused so.
refused() {
    begin "curl: $1" || return
    local expected=$2 error=$3
    shift 3
    : >"$TMP/head" && : >"$TMP/body"
    request "$@"
    [[ $status == "$expected" ]] || complain "answered $status, not $expected"
    expect "$TMP/head" '^content-type: application/json' '^cache-control: .*no-store' "${also[@]}"
    expect "$TMP/body" "\"error\": *\"$error\"" '"message": *"[^"]+'
    end
}
id= streams=0 status=
also=() # Headers that the next refusals have too.

# stream FILE ARGUMENTS…: follows an event stream into a file until the script ends.
stream() {
    local file=$1
    shift
    curl --silent --no-buffer --include --max-time 60 "$@" >"$file" &
    pids+=($!)
}

# open_sse, open_longpoll: open a plain connection and set `id` to its name.
open_sse() {
    streams=$((streams + 1))
    stream "$TMP/stream.$streams" "$RT?transport=sse"
    await "$TMP/stream.$streams" '"connection":"[^"]+"}' || return 1
    id=$(sed -n 's/^data: {"connection":"\(.*\)"}.*/\1/p' "$TMP/stream.$streams")
}

open_longpoll() {
    request "$RT?transport=longpoll"
    id=$(tr -d '\r' <"$TMP/head" | sed -n 's/^switchback-connection: //Ip')
}

# ---- Event streams. ----

serve dashboard
readonly DASHBOARD=http://$host

if begin 'curl -N: the dashboard, with names, ids and retry'; then
    stream "$TMP/samples" "$DASHBOARD/events"
    if await "$TMP/samples" '^id: [2-9]|^id: [1-9][0-9]'; then
        expect "$TMP/samples" '^HTTP/1.1 200' '^content-type: text/event-stream' \
            '^cache-control: no-cache, no-transform' '^x-accel-buffering: no' \
            '^event: sample$' '^id: [0-9]+$' '^retry: 1000$' '^data: \{.*"memory":0\.[0-9]+'
    fi
    end
fi

if begin 'curl -N: the dashboard goes on after Last-Event-ID'; then
    seen=$(sed -n 's/^id: //p' "$TMP/samples" | tail -n 1)
    stream "$TMP/later" --header "Last-Event-ID: $seen" "$DASHBOARD/events"
    if await "$TMP/later" '^id: [0-9]+$'; then
        first=$(sed -n 's/^id: //p' "$TMP/later" | head -n 1)
        ((first > seen)) || complain "$first came again after $seen"
    fi
    end
fi

serve echo
readonly ECHO=http://$host RT=http://$host/rt WS=http://$host/ws

if begin 'curl -N: /rt echoes what is POSTed as events'; then
    open_sse
    printf 't5:hellob3:\0\1\2t3:a\rbt0:' >"$TMP/batch"
    request --header "Switchback-Connection: $id" --data-binary "@$TMP/batch" \
        "$RT?transport=sse&first=1"
    [[ $status$(<"$TMP/body") == '200{"received":4}' ]] || complain "$status $(<"$TMP/body")"
    if await "$TMP/stream.$streams" '^data: $'; then
        expect "$TMP/stream.$streams" '^HTTP/1.1 200' '^content-type: text/event-stream' \
            '^data: hello$' '^data: AAEC$' '^data: YQ1i$'
    fi
    end
fi

if begin 'curl -N: an Accept header alone opens an event stream'; then
    stream "$TMP/accept" --header 'Accept: text/html, text/event-stream;q=0.9' "$RT"
    await "$TMP/accept" '^data: \{"connection":"'
    end
fi

if begin 'curl -N: HTTP/2'; then
    if [[ $(curl --version) == *HTTP2* ]]; then
        stream "$TMP/h2" --http2-prior-knowledge "$RT?transport=sse"
        await "$TMP/h2" '^data: \{"connection":"' && expect "$TMP/h2" '^HTTP/2 200'
        end
    else
        echo "SKIPPED: $name — this curl does not speak it"
    fi
fi

# ---- Long-polls. ----

serve long-poll
if begin 'curl: the long-poll example, as its comment says'; then
    sed -n '/^\/\/! ```sh/,/^\/\/! ```$/p' examples/long-poll.rs | sed '1d;$d;s|^//! ||' |
        sed "s|127\.0\.0\.1:9003|$host|" >"$TMP/comment.sh"
    [[ $(wc -l <"$TMP/comment.sh") -ge 4 ]] || complain 'the comment is not there'
    output=$(timeout "$PATIENCE" bash -eu "$TMP/comment.sh" 2>&1)
    [[ $output == '{"received":1}'*'t5:hello' ]] || complain "it printed: $output"
    end
fi

if begin 'curl: a poll that is lost is answered again'; then
    open_longpoll
    for first in 1 2; do
        request --header "Switchback-Connection: $id" --data-binary "t1:$first" \
            "$RT?transport=longpoll&first=$first"
    done
    # Two messages may come in one batch or in two, but from the same cursor the same comes again.
    for answer in '^t1:1(t1:2)?$' '^t1:1t1:2$'; do
        request --header "Switchback-Connection: $id" "$RT?transport=longpoll&cursor=0"
        [[ $status == 200 ]] || complain "answered $status"
        expect "$TMP/head" '^content-type: application/x-switchback-batch' '^cache-control: no-store'
        expect "$TMP/body" "$answer"
    done
    request --header "Switchback-Connection: $id" "$RT?transport=longpoll&cursor=1"
    expect "$TMP/body" '^t1:2$'
    end
fi

if begin 'curl: a newer poll supersedes the older'; then
    open_longpoll
    curl --silent --max-time "$PATIENCE" --header "Switchback-Connection: $id" --output "$TMP/older" \
        --write-out '%{http_code}\n' "$RT?transport=longpoll&cursor=0" >"$TMP/older.status" &
    older=$!
    pids+=("$older")
    # The older one is on its way, but may arrive after the newer: then that one is superseded.
    request --max-time 1 --header "Switchback-Connection: $id" "$RT?transport=longpoll&cursor=0"
    if [[ $status == 000 ]]; then
        wait "$older"
        status=$(<"$TMP/older.status")
        cp "$TMP/older" "$TMP/body"
    fi
    [[ $status == 409 ]] || complain "answered $status"
    expect "$TMP/body" '"error":"superseded"'
    end
fi

if begin 'curl: DELETE ends a connection, as often as one likes'; then
    for opened in sse longpoll; do
        "open_$opened"
        for _ in 1 2; do
            request --request DELETE --header "Switchback-Connection: $id" \
                "$RT?transport=$opened&code=1000&reason=tsch%C3%BC%C3%9F"
            [[ $status == 204 ]] || complain "DELETE on $opened answered $status"
        done
    done
    end
fi

if begin 'curl: a session that is not known is answered by a new one'; then
    session=AAAAAAAAAAAAAAAAAAAAAA
    request --header "Switchback-Session: 1.resume.$session.AAAAAAAAAAAAAAAAAAAAAA.7.7.3" \
        "$RT?transport=longpoll"
    [[ $status == 200 ]] || complain "answered $status"
    expect "$TMP/body" 'opened \{' '"resumed":false' '"why":"unknown"'
    ! grep --quiet "\"$session\"" "$TMP/body" || complain 'it has the same name'
    end
fi

# ---- Refusals. ----

refused 'no transport' 400 unknown_transport "$RT"
refused 'unknown transport' 400 unknown_transport "$RT?transport=pigeon"
refused 'empty transport' 400 unknown_transport "$RT?transport="
refused 'POST without transport' 400 unknown_transport --data-binary t1:x "$RT"

also=('^allow: .*POST')
for method in PUT PATCH OPTIONS; do
    for transport in sse longpoll; do
        refused "$method to $transport" 405 method_not_allowed --request "$method" \
            "$RT?transport=$transport"
    done
done
also=()

for transport in sse longpoll; do
    for hello in nonsense '' 2.new.AAAAAAAAAAAAAAAAAAAAAA.1.1 1.new.short.1.1 \
        1.new.AAAAAAAAAAAAAAAAAAAAAA.1.2 1.new.AAAAAAAAAAAAAAAAAAAAAA.1.0 \
        1.new.AAAAAAAAAAAAAAAAAAAAAA.01.1 1.new.AAAAAAAAAAAAAAAAAAAAAA.1.1.1 \
        1.resume.AAAAAAAAAAAAAAAAAAAAAA.1.1.1 1.new.AAAAAAAAAAAAAAAAAAAAAA.9007199254740992.1; do
        also=('^switchback-version: 1')
        refused "hello '$hello' on $transport" 400 bad_session \
            --header "Switchback-Session${hello:+: }${hello:-;}" \
            "$RT?transport=$transport"
        also=()
    done

    refused "POST to $transport without a connection" 400 bad_request --data-binary t1:x \
        "$RT?transport=$transport&first=1"
    refused "POST to an unknown connection of $transport" 404 unknown_connection \
        --header 'Switchback-Connection: AAAAAAAAAAAAAAAAAAAAAA' --data-binary t1:x \
        "$RT?transport=$transport&first=1"
    refused "POST to a connection of $transport that was never issued" 404 unknown_connection \
        --header 'Switchback-Connection: no such thing!' --data-binary t1:x \
        "$RT?transport=$transport&first=1"

    "open_$transport"
    for first in '' 0 -1 01 1.5 x 99999999999999999999; do
        refused "POST to $transport with first=$first" 400 bad_request \
            --header "Switchback-Connection: $id" --data-binary t1:x \
            "$RT?transport=$transport&first=$first"
    done
    refused "POST to $transport without first" 400 bad_request \
        --header "Switchback-Connection: $id" --data-binary t1:x "$RT?transport=$transport"
    refused "POST to $transport that leaves a gap" 409 gap \
        --header "Switchback-Connection: $id" --data-binary t1:x "$RT?transport=$transport&first=3"
    refused "DELETE of $transport with a code that may not be sent" 400 bad_request \
        --request DELETE --header "Switchback-Connection: $id" "$RT?transport=$transport&code=1006"

    for batch in x t x1:y t1 t1y t01:x t:x t-1:x t+1:x 't 1:x' t2:x t1:xy t12345678901:x T1:x; do
        "open_$transport"
        refused "POST of '$batch' to $transport" 400 bad_batch \
            --header "Switchback-Connection: $id" --data-binary "$batch" \
            "$RT?transport=$transport&first=1"
    done
    "open_$transport"
    refused "POST of a text that is not UTF-8 to $transport" 400 bad_batch \
        --header "Switchback-Connection: $id" --data-binary $'t2:\xc3\x28' \
        "$RT?transport=$transport&first=1"

    # The limit of the echo is 64 MiB.
    "open_$transport"
    refused "POST of a message to $transport that is too large" 413 too_large \
        --header "Switchback-Connection: $id" --data-binary t67108865:x \
        "$RT?transport=$transport&first=1"
    "open_$transport"
    head -c 68000000 /dev/zero >"$TMP/large"
    refused "POST of a body to $transport that is too large" 413 too_large --header 'Expect:' \
        --header "Switchback-Connection: $id" --data-binary "@$TMP/large" \
        "$RT?transport=$transport&first=1"
    "open_$transport"
    printf 't0:%.0s' {1..5000} >"$TMP/many"
    refused "POST of too many messages to $transport" 413 too_large \
        --header "Switchback-Connection: $id" --data-binary "@$TMP/many" \
        "$RT?transport=$transport&first=1"
done

open_longpoll
for cursor in '' x -1 00 1.0; do
    refused "poll with cursor=$cursor" 400 bad_request --header "Switchback-Connection: $id" \
        "$RT?transport=longpoll&cursor=$cursor"
done
refused 'poll without a cursor' 400 bad_request --header "Switchback-Connection: $id" \
    "$RT?transport=longpoll"
refused 'poll with a cursor that is ahead' 400 bad_cursor --header "Switchback-Connection: $id" \
    "$RT?transport=longpoll&cursor=1"
open_longpoll
request --header "Switchback-Connection: $id" --data-binary t1:x "$RT?transport=longpoll&first=1"
request --header "Switchback-Connection: $id" "$RT?transport=longpoll&cursor=0"
request --max-time 1 --header "Switchback-Connection: $id" "$RT?transport=longpoll&cursor=1"
refused 'poll with a cursor that is behind' 400 bad_cursor --header "Switchback-Connection: $id" \
    "$RT?transport=longpoll&cursor=0"
refused 'poll of an unknown connection' 404 unknown_connection \
    --header 'Switchback-Connection: AAAAAAAAAAAAAAAAAAAAAA' "$RT?transport=longpoll&cursor=0"

open_sse
refused 'POST to a connection of another transport' 404 unknown_connection \
    --header "Switchback-Connection: $id" --data-binary t1:x "$RT?transport=longpoll&first=1"

# ---- Handshakes. ----

readonly UPGRADE='Upgrade: websocket' CONNECTION='Connection: Upgrade'
readonly VERSION='Sec-WebSocket-Version: 13' KEY='Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
for path in ws rt; do
    url=$ECHO/$path
    also=('^allow: GET')
    refused "/$path: a handshake by POST" 405 method_not_allowed --data '' \
        -H "$UPGRADE" -H "$CONNECTION" -H "$VERSION" -H "$KEY" "$url"
    also=('^sec-websocket-version: 13')
    for version in 8 12 14 x; do
        refused "/$path: a handshake with version $version" 426 unsupported_version \
            -H "$UPGRADE" -H "$CONNECTION" -H "Sec-WebSocket-Version: $version" -H "$KEY" "$url"
    done
    also=()
    refused "/$path: a handshake without Connection" 400 bad_upgrade \
        -H "$UPGRADE" -H "$VERSION" -H "$KEY" "$url"
    refused "/$path: a handshake that keeps alive" 400 bad_upgrade \
        -H "$UPGRADE" -H 'Connection: keep-alive' -H "$VERSION" -H "$KEY" "$url"
    refused "/$path: a handshake without a version" 400 bad_upgrade \
        -H "$UPGRADE" -H "$CONNECTION" -H "$KEY" "$url"
    refused "/$path: a handshake without a key" 400 bad_upgrade \
        -H "$UPGRADE" -H "$CONNECTION" -H "$VERSION" "$url"
    for key in x dGhlIHNhbXBsZSBub25jZQ 'dGhlIHNhbXBsZSBub25jZWE=' 'dGhl!HNhbXBsZSBub25jZQ=='; do
        refused "/$path: a handshake with the key $key" 400 bad_upgrade \
            -H "$UPGRADE" -H "$CONNECTION" -H "$VERSION" -H "Sec-WebSocket-Key: $key" "$url"
    done
    refused "/$path: a handshake with two keys" 400 bad_upgrade \
        -H "$UPGRADE" -H "$CONNECTION" -H "$VERSION" -H "$KEY" -H "$KEY" "$url"
    refused "/$path: a handshake with a body" 400 bad_upgrade --request GET --data x \
        -H "$UPGRADE" -H "$CONNECTION" -H "$VERSION" -H "$KEY" "$url"
    refused "/$path: a handshake over HTTP/1.0" 400 bad_upgrade --http1.0 \
        -H "$UPGRADE" -H "$CONNECTION" -H "$VERSION" -H "$KEY" "$url"
    refused "/$path: a handshake with a malformed subprotocol" 400 bad_upgrade \
        -H "$UPGRADE" -H "$CONNECTION" -H "$VERSION" -H "$KEY" \
        -H 'Sec-WebSocket-Protocol: a b' "$url"
done
refused '/ws: no handshake at all' 400 bad_upgrade "$WS"
also=('^switchback-version: 1')
for hello in nonsense 2.new.AAAAAAAAAAAAAAAAAAAAAA.1.1 1.new.AAAAAAAAAAAAAAAAAAAAAA.1.2; do
    refused "/rt: a handshake with the hello '$hello'" 400 bad_session \
        -H "$UPGRADE" -H "$CONNECTION" -H "$VERSION" -H "$KEY" \
        -H "Sec-WebSocket-Protocol: switchback, switchback.$hello" "$RT"
done
also=()

# ---- After all this. ----

if begin 'curl: a head that is too long is refused and harms nobody'; then
    printf 'X-Long: %01000000d' 0 >"$TMP/long"
    request --header "@$TMP/long" "$RT?transport=longpoll"
    [[ $status == 431 || $status == 000 ]] || complain "answered $status"
    end
fi

if begin 'curl: the servers are well and have not panicked'; then
    open_longpoll
    [[ -n $id ]] || complain 'the echo opens no long-poll'
    ! grep --text -B 1 -A 5 panicked "$TMP"/*.log >"$TMP/panics" || complain "$(<"$TMP/panics")"
    end
fi

((failures == 0))
