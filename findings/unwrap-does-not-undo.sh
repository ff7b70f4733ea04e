#!/usr/bin/env bash
# opentelemetry-instrumentation 0.66b2, utils.unwrap: whether it undoes wrapt.wrap_function_wrapper.
#
# Guess: after wrapping and unwrapping, a class is what it was.
# Seen:  a method that a class inherits stays behind as a copy of its own, so what is changed on the base
#        later does not reach it; a static method comes back as a plain function, which then gets the
#        instance as its first argument.
# Hurts: uninstrument() of an instrumentor that wraps either.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check \
  opentelemetry-instrumentation==0.66b2 wrapt==2.2.1
cat >"$dir/look.py" <<'PY'
import wrapt
from opentelemetry.instrumentation.utils import unwrap


class Base:
    def turn(self):
        return "base"


class Child(Base):
    @staticmethod
    def volume(level):
        return level


def through(wrapped, instance, args, kwargs):
    return wrapped(*args, **kwargs)


for name in ("turn", "volume"):
    wrapt.wrap_function_wrapper(Child, name, through)
    unwrap(Child, name)
Base.turn = lambda self: "changed on the base"
print("an inherited method is a copy of the child's own:", "turn" in vars(Child))
print("what the child says after its base has changed:", Child().turn())
print("a static method is now a:", type(vars(Child)["volume"]).__name__)
try:
    print("called on an instance:", Child().volume(3))
except TypeError as error:
    print("called on an instance:", error)
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
an inherited method is a copy of the child's own: True
what the child says after its base has changed: base
a static method is now a: function
called on an instance: Child.volume() takes 1 positional argument but 2 were given
SEEN
