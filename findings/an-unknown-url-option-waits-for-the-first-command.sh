#!/usr/bin/env bash
# redis-py 8.1.0, from_url: when an option of a URL that does not exist is noticed.
#
# Guess: from_url("redis://host/0?sockettimeout=1") refuses the misspelt option, as it refuses a scheme
#        it does not know, and a value that does not fit the option.
# Seen:  it takes it. The first command raises a TypeError about __init__(), before anything is sent.
# Hurts: a service that builds its client when it starts and uses it later: it starts well, and what
#        it raises then is no RedisError, so what handles an unreachable server does not handle it.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check redis==8.1.0
cat >"$dir/look.py" <<'PY'
import redis


def asked(url):
    try:
        client = redis.Redis.from_url(url)
    except Exception as error:
        return f"from_url raises {type(error).__name__}"
    try:
        client.ping()
    except redis.RedisError as error:
        return f"the first command raises {type(error).__name__}, a RedisError"
    except Exception as error:
        return f"the first command raises {type(error).__name__}, no RedisError"
    return "nothing is raised"


print("a scheme that does not exist:", asked("reddis://127.0.0.1:1/0"))
print("a value that does not fit:", asked("redis://127.0.0.1:1/0?socket_timeout=soon"))
print("an option that does not exist:", asked("redis://127.0.0.1:1/0?sockettimeout=1"))
print("all spelt well, no server there:", asked("redis://127.0.0.1:1/0?socket_timeout=1"))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
a scheme that does not exist: from_url raises ValueError
a value that does not fit: from_url raises ValueError
an option that does not exist: the first command raises TypeError, no RedisError
all spelt well, no server there: the first command raises ConnectionError, a RedisError
SEEN
